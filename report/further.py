"""Tables of scores other than UA, RA, TA, MIA-Efficacy and RTE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from evaluation import closeness, scoring
from utils.names import lookup

if TYPE_CHECKING:
    from report.comparison import Table

Accuracies = Mapping[str, float]


def _whole(content: dict[str, Any]) -> bool:
    """Whether a result has the accuracy on all three sets."""
    return isinstance(content.get("accuracy"), dict) and all(
        isinstance(content["accuracy"].get(name), (int, float)) for name in closeness.SETS
    )


# Scores that follow from accuracies alone: they need a Retrain run with the same seeds, but no --reference_model.
FROM_ACCURACIES: dict[str, Callable[[Accuracies, Accuracies], float | None]] = {
    "ToW": closeness.tug_of_war,
    "RD": closeness.retention_deviation,
    "SAPE": closeness.mean_sape,
}


def value(name: str, keys: tuple[str, ...], content: dict[str, Any], retrained: Accuracies | None) -> float | None:
    """A score of one run; None if the run lacks it.

    Args:
        name: of the score, as ``--scores`` takes it.
        keys: the path of the score in ``content``.
        content: of the run's ``result.json``.
        retrained: accuracies in [0, 1], by set, of the model retrained with the same seeds; None if there is none.
    """
    if name not in FROM_ACCURACIES:
        return scoring.stored(content, keys)
    return FROM_ACCURACIES[name](content["accuracy"], retrained) if retrained and _whole(content) else None


def scores_named(text: str | None) -> list[str]:
    """The names of scores that ``--scores`` asks for.

    Args:
        text: names separated by commas, or "all"; None or empty for none.
    Raises:
        UsageError: there is no such score.
    """
    names, scores = list(dict.fromkeys(text.split(","))) if text else [], scoring.columns()
    return list(scores) if "all" in names else [lookup(name, ["all", *scores], "--scores") for name in names]


def scores_table(table: Table, names: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of scores: a row per method, a column per score and model, mean ± standard deviation.

    Args:
        names: of the scores; those that no run has get no column.
    """
    import pandas as pd

    from report.comparison import cells_by, seed_of

    finished = table.finished[["row", "model", "run"]].itertuples(index=False)
    places = [(row, model, run.content) for row, model, run in finished]
    retrained = {
        (model, seed_of(content)): content["accuracy"]
        for row, model, content in places
        if row == "Retrain" and _whole(content)
    }
    scores = scoring.columns()
    lines = [
        (row, model, name, value(name, scores[name].keys, content, retrained.get((model, seed_of(content)))))
        for row, model, content in places
        for name in names
    ]
    cells = cells_by(pd.DataFrame(lines, columns=["row", "model", "score", "value"]), ["row", "model", "score"])
    stored = {name for *_, name in cells}
    columns = [(name, model.name) for name in names if name in stored for model in table.models]
    rows = []
    for row in table.rows:
        values = [(cells.get((row, model, name)), scores[name].percent) for name, model in columns]
        forms = ((100, ".2f") if percent else (1, ".4f") for _, percent in values)
        rows.append([row, *(cell.text(*form) if cell else "-" for (cell, _), form in zip(values, forms))])
    return ["method", *(f"{name} {model}" for name, model in columns)], rows


def note(head: list[str], names: list[str]) -> str:
    """A sentence that explains the scores in the columns of ``scores_table``."""
    scores = scoring.columns()
    shown = [name for name in names if any(title.startswith(f"{name} ") for title in head)]
    return "; ".join(f"{name}{' (%)' if scores[name].percent else ''}: {scores[name].says}" for name in shown) + "."
