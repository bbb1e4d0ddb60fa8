"""Lists the settings of a table's rows: hyper-parameters, commit and day of the runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from report.comparison import Table
from report.row_names import hyper
from report.runs import Run
from utils.errors import one_line

PER_ROW = ("unlearn_epochs", "unlearn_lr", "alpha")  # listed in every row, even where all rows agree
HEAD = ["method", "settings", "commit", "finished"]


@dataclass(frozen=True)
class Settings:
    """The settings of one table's rows.

    Attributes:
        lines: a line with the columns ``HEAD`` for each row that has a run. Hyper-parameters that all rows share are
            left out, those in which models differ are given by model. The day is the first and the last (UTC) on which
            a run finished.
        note: the hyper-parameters that all rows share, as a sentence; empty if there are none.
    """

    lines: list[list[str]]
    note: str

    @property
    def rows(self) -> dict[str, str]:
        """The hyper-parameters of ``lines`` by row name."""
        return {line[0]: line[1] for line in self.lines}


def settings_of(table: Table) -> Settings:
    """The settings of a table's rows, from the runs' result files."""
    members = table.members()
    values = {row: _values(members[row]) for row in table.rows if row in members}
    common = _common(values)
    lines = []
    for row, by_key in values.items():
        contents = [run.content for runs in members[row].values() for run in runs]
        settings = [_said(key, by_model) for key, by_model in by_key.items() if key not in common]
        commits = sorted({_commit(content) for content in contents})
        days = sorted({str(content.get("finished", ""))[:10] for content in contents} - {""})
        span = " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "-"
        lines.append([row, ", ".join(settings) or "-", ", ".join(commits), span])
    shared = ", ".join(_said(key, {"": text}) for key, text in common.items())
    return Settings(lines, f"Settings that all rows with them share: {shared}." if shared else "")


def _values(models: dict[str, list[Run]]) -> dict[str, dict[str, str]]:
    """By hyper-parameter and model its value as text, or "A or B" where runs differ.

    Hyper-parameters that are None or false in all runs are left out.
    """
    by_key: dict[str, dict[str, str]] = {}
    for model, runs in models.items():
        settings = [hyper(run.content) for run in runs]
        for key in dict.fromkeys(key for setting in settings for key in setting):
            values = [setting.get(key) for setting in settings]
            texts = sorted({_words(value) for value in values if value is not None and value is not False})
            if texts:
                by_key.setdefault(key, {})[model] = " or ".join(texts)
    return {key: {model: by_model.get(model, "unset") for model in models} for key, by_model in by_key.items()}


def _words(value: Any) -> str:
    """A value as text on one line; empty for true, which means that a flag without a value is given."""
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return "" if value is True else one_line(value if isinstance(value, str) else json.dumps(value))


def _common(values: dict[str, dict[str, dict[str, str]]]) -> dict[str, str]:
    """Hyper-parameters that at least two rows have, with one value in all of them."""
    seen: dict[str, list[str]] = {}
    for by_key in values.values():
        for key, by_model in by_key.items():
            seen.setdefault(key, []).append(" | ".join(sorted(set(by_model.values()))))
    return {
        key: texts[0]
        for key, texts in seen.items()
        if len(texts) > 1 and len(set(texts)) == 1 and " | " not in texts[0] and key not in PER_ROW
    }


def _said(key: str, by_model: dict[str, str]) -> str:
    """A hyper-parameter with its value as text.

    That is ``unlearn_lr 0.01``, or ``unlearn_lr 0.01 (dense); 0.02 (95 % sparse)`` where models differ; of a flag
    without a value its name alone.
    """
    if len(set(by_model.values())) == 1:
        return f"{key} {next(iter(by_model.values()))}".strip()
    return f"{key} " + "; ".join(f"{text or 'on'} ({model})" for model, text in by_model.items())


def _commit(content: dict[str, Any]) -> str:
    """The first ten digits of a run's commit, with "-dirty" if files had been changed; a dash if it is unknown."""
    commit = content.get("environment", {}).get("commit")
    if not isinstance(commit, str) or not commit:
        return "-"
    return f"{commit[:10]}{'-dirty' if commit.endswith('-dirty') else ''}"
