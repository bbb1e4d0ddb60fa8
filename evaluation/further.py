"""Tables of the scores beside the paper's five. Imports neither torch nor numpy."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation import closeness
from evaluation.results import Found, Table, seed_of
from utils.errors import UsageError
from utils.names import nearest

Accuracies = Mapping[str, float]


@dataclass(frozen=True)
class Score:
    """A score of one run.

    Attributes:
        of: from a ``result.json`` and the accuracies of the model retrained with the same seeds, which are None where there is none.
        percent: whether it is printed in per cent, with two decimals; else as it is, with four.
        says: what it is, for the note below the table.
    """

    of: Callable[[dict[str, Any], Accuracies | None], float | None]
    percent: bool
    says: str


def _stored(*keys: str) -> Callable[[dict[str, Any], Accuracies | None], float | None]:
    """A number of the result file; None where the file lacks it."""

    def of(content: dict[str, Any], retrained: Accuracies | None) -> float | None:
        for key in keys:
            content = content.get(key) if isinstance(content, dict) else None
        return content if isinstance(content, (int, float)) else None

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
        for key, words in {
            "correctness": "correctness",
            "entropy": "entropy",
            "m_entropy": "modified entropy",
            "prob": "all probabilities",
        }.items()
    },
}


def chosen(text: str) -> list[str]:
    """Names of scores from what was typed: names with commas between, or ``all``.

    Raises:
        UsageError: there is no such score.
    """
    typed = list(dict.fromkeys(text.split(",")))
    names = list(SCORES) if "all" in typed else typed
    for name in typed if "all" not in typed else []:
        if name not in SCORES:
            raise UsageError(f"--scores {name}: unknown{nearest(name, SCORES)}; known: all, {', '.join(SCORES)}")
    return names


def table(of: Table, found: list[Found], names: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: each score over the models, mean ± standard deviation over the seeds; scores that no run has are left out."""
    runs = [
        (*of.places[one.content["fingerprint"]], one.content)
        for one in found
        if one.content["fingerprint"] in of.places and not one.failed
    ]
    retrained = {
        (model, seed_of(content)): content["accuracy"]
        for row, models, content in runs
        for model in models
        if row == "Retrain" and _whole(content)
    }
    values: dict[tuple[str, str, str], list[float]] = {}
    for row, models, content in runs:
        for model in models:
            for name in names:
                value = SCORES[name].of(content, retrained.get((model, seed_of(content))))
                if value is not None:
                    values.setdefault((row, model, name), []).append(value)
    columns = [(name, model.name) for name in names if any(key[2] == name for key in values) for model in of.models]
    rows = [
        [row, *(_cell(values.get((row, model, name)), SCORES[name].percent) for name, model in columns)]
        for row in of.rows
    ]
    return ["method", *(f"{name} {model}" for name, model in columns)], rows


def note(head: list[str], names: list[str]) -> str:
    """What the columns are."""
    shown = [name for name in names if any(title.startswith(f"{name} ") for title in head)]
    return "; ".join(f"{name}{' (%)' if SCORES[name].percent else ''}: {SCORES[name].says}" for name in shown) + "."


def _cell(values: list[float] | None, percent: bool) -> str:
    if not values:
        return "-"
    factor, digits = (100, 2) if percent else (1, 4)
    spread = f"±{factor * statistics.pstdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{factor * statistics.fmean(values):.{digits}f}{spread}"
