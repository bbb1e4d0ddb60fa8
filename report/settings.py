"""What the rows of a table were run with: hyper-parameters, the commit, the day."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from report.comparison import Table
from report.row_names import hyper
from report.runs import Run
from utils.errors import one_line

PER_ROW = ("unlearn_epochs", "unlearn_lr", "alpha")  # said of every row, even where all rows agree
HEAD = ["method", "settings", "commit", "finished"]


@dataclass
class Settings:
    """Of one table.

    Attributes:
        common: hyper-parameters that are the same in every row that has them, in words.
        rows: by row name, the others; where models differ, by model.
        commits: by row name, of the project, shortened.
        days: by row name, first and last day (UTC) on which a run finished.
    """

    common: str = ""
    rows: dict[str, str] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    days: dict[str, str] = field(default_factory=dict)

    def lines(self, table: Table) -> list[list[str]]:
        """Rows below ``HEAD``, for every row of the table that has a run."""
        return [[row, self.rows[row], self.commits[row], self.days[row]] for row in table.rows if row in self.rows]

    def note(self) -> str:
        """What all rows share, as a sentence."""
        return f"Settings that all rows with them share: {self.common}." if self.common else ""


def settings_of(table: Table) -> Settings:
    """What the runs of a table were given, from their result files."""
    members = table.members()
    values = {row: _values(models) for row, models in members.items()}
    common = _common(values)
    settings = Settings(", ".join(_said(key, {"": text}) for key, text in common.items()))
    for row, models in members.items():
        contents = [run.content for runs in models.values() for run in runs]
        own = [_said(key, by_model) for key, by_model in values[row].items() if key not in common]
        settings.rows[row] = ", ".join(own) or "-"
        settings.commits[row] = ", ".join(sorted({_commit(content) for content in contents}))
        days = sorted({str(content.get("finished", ""))[:10] for content in contents} - {""})
        settings.days[row] = " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "-"
    return settings


def _values(models: dict[str, list[Run]]) -> dict[str, dict[str, str]]:
    """By hyper-parameter, by model: its value in words, several where runs differ.

    What is unset on every model is left out.
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
    """A value on one line; nothing for a switch that is on."""
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return "" if value is True else one_line(value if isinstance(value, str) else json.dumps(value))


def _common(values: dict[str, dict[str, dict[str, str]]]) -> dict[str, str]:
    """Hyper-parameters of at least two rows that are the same wherever they are."""
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
    """``unlearn_lr 0.01``; ``unlearn_lr 0.01 (dense); 0.02 (95 % sparse)`` where models differ; a switch by name."""
    if len(set(by_model.values())) == 1:
        return f"{key} {next(iter(by_model.values()))}".strip()
    return f"{key} " + "; ".join(f"{text or 'on'} ({model})" for model, text in by_model.items())


def _commit(content: dict[str, Any]) -> str:
    """The first ten digits, and whether files had been changed; a dash where the run does not say."""
    commit = content.get("environment", {}).get("commit")
    if not isinstance(commit, str) or not commit:
        return "-"
    return f"{commit[:10]}{'-dirty' if commit.endswith('-dirty') else ''}"
