"""Tables of the scores beside the paper's five."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluation import closeness
from utils.errors import UsageError
from utils.names import nearest

if TYPE_CHECKING:
    from report.comparison import Table

Accuracies = Mapping[str, float]


@dataclass(frozen=True)
class Score:
    """A score of one run.

    Attributes:
        of: from a ``result.json`` and the accuracies of the model retrained with the same seeds, if there is one.
        percent: whether it is printed in per cent, with two decimals; else as it is, with four.
        says: what it is, for the note below the table.
    """

    of: Callable[[dict[str, Any], Accuracies | None], float | None]
    percent: bool
    says: str


def _stored(*keys: str) -> Callable[[dict[str, Any], Accuracies | None], float | None]:
    """A number of the result file; None where the file lacks it."""

    def of(content: dict[str, Any], retrained: Accuracies | None) -> float | None:
        value: Any = content
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, (int, float)) else None

    return of


def _beside(
    compare: Callable[[Accuracies, Accuracies], float | None],
) -> Callable[[dict[str, Any], Accuracies | None], float | None]:
    """A number from the accuracies on retain, forget and test set and the retrained model's."""
    return lambda content, retrained: compare(content["accuracy"], retrained) if retrained and _whole(content) else None


def _whole(content: dict[str, Any]) -> bool:
    """Whether a result has the accuracy on all three sets."""
    return isinstance(content.get("accuracy"), dict) and all(
        isinstance(content["accuracy"].get(name), (int, float)) for name in closeness.SETS
    )


SCORES = {
    "KL": Score(
        _stored("to_retrained", "KL", "forget"),
        False,
        "divergence of outputs on the forget set from --reference_model's, nats",
    ),
    "JS": Score(_stored("to_retrained", "JS", "forget"), False, "the same, symmetric, at most 0.6931"),
    "ToW": Score(
        _beside(closeness.tug_of_war),
        False,
        "product over retain, forget and test of 1 - |difference of accuracy from Retrain's|; 1 is Retrain",
    ),
    "RD": Score(
        _beside(closeness.retention_deviation),
        False,
        "retention deviation, sum of |accuracy / Retrain's - 1|; 0 is Retrain, none where Retrain's is 0",
    ),
    "SAPE": Score(
        _beside(closeness.mean_sape), True, "mean over the three sets of |a - b| / (a + b), b Retrain's accuracy"
    ),
    "loss_attack": Score(
        _stored("deepunlearn", "test", "attack"),
        True,
        "a logistic regression tells forget from test images by their loss; 50 is a guess",
    ),
    "indiscernibility": Score(_stored("deepunlearn", "test", "indiscernibility"), True, "1 - |2 loss_attack - 1|"),
    "entropy_attack": Score(_stored("entropy_attack"), True, "forget images judged members by their entropy"),
    **{
        f"MIA-{key}": Score(
            _stored("SVC_MIA_forget_efficacy", key), True, f"MIA-Efficacy by {words} in place of confidence"
        )
        for key, words in zip(
            ("correctness", "entropy", "m_entropy", "prob"),
            ("correctness", "entropy", "modified entropy", "all probabilities"),
        )
    },
}


def scores_named(text: str | None) -> list[str]:
    """Names of scores from what was typed: names with commas between, or ``all``; none where nothing was typed.

    Raises UsageError: there is no such score.
    """
    typed = list(dict.fromkeys(text.split(","))) if text else []
    names = list(SCORES) if "all" in typed else typed
    for name in typed if "all" not in typed else []:
        if name not in SCORES:
            raise UsageError(f"--scores {name}: unknown{nearest(name, SCORES)}; known: all, {', '.join(SCORES)}")
    return names


def scores_table(table: Table, names: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: each score over the models, mean ± standard deviation; scores that no run has are left out."""
    import pandas as pd

    from report.comparison import cells_by, seed_of

    runs = table.frame[~table.frame["failed"].astype(bool)]
    places = [(row, model, run.content) for row, model, run in runs[["row", "model", "run"]].itertuples(index=False)]
    retrained = {
        (model, seed_of(content)): content["accuracy"]
        for row, model, content in places
        if row == "Retrain" and _whole(content)
    }
    lines = [
        (row, model, name, SCORES[name].of(content, retrained.get((model, seed_of(content)))))
        for row, model, content in places
        for name in names
    ]
    cells = cells_by(pd.DataFrame(lines, columns=["row", "model", "score", "value"]), ["row", "model", "score"])
    told = {name for *_, name in cells}
    columns = [(name, model.name) for name in names if name in told for model in table.models]
    rows = []
    for row in table.rows:
        found = [(cells.get((row, model, name)), SCORES[name].percent) for name, model in columns]
        forms = ((100, ".2f") if percent else (1, ".4f") for _, percent in found)
        rows.append([row, *(cell.text(*form) if cell else "-" for (cell, _), form in zip(found, forms))])
    return ["method", *(f"{name} {model}" for name, model in columns)], rows


def note(head: list[str], names: list[str]) -> str:
    """What the columns are."""
    shown = [name for name in names if any(title.startswith(f"{name} ") for title in head)]
    return "; ".join(f"{name}{' (%)' if SCORES[name].percent else ''}: {SCORES[name].says}" for name in shown) + "."
