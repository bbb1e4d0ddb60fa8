"""What an unlearning run prints at its end: original, unlearned and retrained model in a table, and a verdict.

Imports neither torch nor numpy.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import runs
from report.runs import METRICS
from report.text import aligned, minutes, percent
from utils.errors import UsageError

MOVED = 0.01  # least rise of UA, in [0, 1], that counts as forgetting; more for small forget sets
RUINED = 0.2  # loss of test accuracy, in [0, 1], above which the model counts as ruined
WORKS = 0.3  # attack success rate, in [0, 1], from which a trigger counts as working
BACKDOOR = {"ASR": "ASR", "ASR_other": "ASR, other classes", "SA": "SA"}  # scores in words
TRIAL = "trial"  # start of the names of trials' folders in a search
UNTOUCHED = "raw"  # the method that leaves the model as it is
SAME_MODEL = ("arch", "dataset", "sparsity")


@dataclass(frozen=True)
class OtherModel:
    """Scores of a model with which the unlearned one is compared.

    Attributes:
        scores: UA, MIA-Efficacy, RA and TA, in [0, 1].
        minutes: its RTE; None if unknown.
        source: folder of the run that it comes from, or a flag; empty for the run itself.
    """

    scores: dict[str, float]
    minutes: float | None = None
    source: str = ""


def original(result: dict[str, Any], folder: Path) -> OtherModel | None:
    """The scores of the model that a run began with, measured by the run itself or by a run beside it.

    Args:
        result: the run's ``result.json``, or as much of it as is known before scoring: ``method``, ``split``,
            ``compat``, ``model`` and ``config``.
        folder: the run's own.
    Returns:
        None if no run measured them, and for the method "raw", which leaves the model as it is.
    """
    if result["method"] == UNTOUCHED:
        return None
    if "original" in result:
        return OtherModel(result["original"])
    for place, other in _siblings(result, folder):
        scores = other["scores"] if other["method"] == UNTOUCHED else other.get("original")
        if other["config"].get("checkpoint") == result["config"].get("checkpoint") and scores is not None:
            return OtherModel({metric: scores[metric] for metric in METRICS}, source=str(place))
    return None


def retrained(result: dict[str, Any], folder: Path) -> OtherModel | None:
    """Retrain's scores on the same split and sparsity, from ``--reference_model`` or a run beside this one.

    Args:
        result: as for ``original``.
        folder: the run's own.
    Returns:
        None if they are unknown, and for a run of Retrain itself.
    """
    if result["method"] == "retrain":
        return None
    if "retrained" in result:
        return OtherModel(result["retrained"], source="--reference_model")
    for place, other in _siblings(result, folder):
        same = all(other["model"].get(key) == result["model"].get(key) for key in SAME_MODEL)
        if other["method"] == "retrain" and same and other["config"].get("data") == result["config"].get("data"):
            return OtherModel(
                {metric: other["scores"][metric] for metric in METRICS}, other["scores"]["RTE"], str(place)
            )
    return None


def _siblings(result: dict[str, Any], folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and result of finished runs that forget the same images and are scored in the same way.

    Runs are looked for beside the run's folder, in its ``earlier/``, and in other trials if it belongs to a search.
    """
    beside = folder.absolute().parent
    found = sorted(beside.glob("*/result.json")) + sorted(folder.glob("earlier/*/result.json"))
    if beside.name.startswith(TRIAL):
        found += sorted(beside.parent.glob(f"{TRIAL}*/{folder.name}/result.json"))
    for path in found:
        other = runs.read(path)
        try:
            runs.check(other, runs.SHAPES["main_forget.py"], path)
        except UsageError:  # another script's, unfinished or of an early version: of no use here
            continue
        same = other["compat"] == result["compat"] and other.get("split", {}).get("digest") == result["split"]["digest"]
        if same and other.get("status") == "done":
            yield path.parent, other


def table(result: dict[str, Any], first: OtherModel | None, exact: OtherModel | None) -> str:
    """A text table of the original, the unlearned and the retrained model: scores and average gap in per cent.

    Args:
        result: the run's ``result.json``.
        first: the original model; None leaves its row out.
        exact: the retrained model; None leaves its row out.
    """
    unlearned = result["scores"]
    rows = [] if first is None else [_row("original", first.scores, exact, None)]
    rows.append(_row(result["paper_name"], unlearned, exact, unlearned["RTE"]))
    if exact is not None:
        rows.append(_row("Retrain", exact.scores, None, exact.minutes))
    return aligned(["model", *(f"{metric} (%)" for metric in METRICS), "avg. gap", "RTE (min)"], rows)


def _row(name: str, scores: dict[str, float], exact: OtherModel | None, took: float | None) -> list[str]:
    gap = None if exact is None else average_gap(scores, exact.scores)
    return [name, *(percent(scores[metric]) for metric in METRICS), percent(gap), minutes(took)]


def average_gap(scores: dict[str, float], exact: dict[str, float]) -> float:
    """Mean absolute difference of the four scores to Retrain's, in [0, 1]."""
    return statistics.fmean(abs(scores[metric] - exact[metric]) for metric in METRICS)


def sentences(result: dict[str, Any], first: OtherModel | None, exact: OtherModel | None, classes: int) -> list[str]:
    """The verdict in words, a sentence a line: what went wrong, or else how near to Retrain the model came.

    Args:
        result: the run's ``result.json``.
        first: the original model, if known.
        exact: the retrained model, if known.
        classes: number of classes of the data set, from which the accuracy of guessing follows.
    """
    unlearned, hyper = result["scores"], result["config"].get("hyper", {})
    forgotten, fresh = result.get("split", {}).get("forget"), result["method"] == "retrain"
    lines = []
    if first is not None and first.scores["RA"] < min(2 / classes, 0.5):
        lines.append(
            f"warning: the original model knows nothing of these images (RA {_percent(first.scores['RA'])}); "
            "check --dataset, --data, --input_size and how the model was normalised"
        )
    if first is not None:
        lines += _against_original(unlearned, first.scores, exact, hyper, forgotten, fresh)
    if exact is not None and not fresh and not lines:
        lines.append(_against_retrain(unlearned, first, exact))
    if exact is None and first is not None and not fresh and not lines:
        rose = f"UA rose from {_percent(first.scores['UA'])} to {_percent(unlearned['UA'])}"
        lines.append(f"{rose}; only Retrain's can tell whether that is enough")
    if exact is not None and exact.source:
        lines.append(f"Retrain: {exact.source}")
    return lines


def _against_original(
    unlearned: dict[str, float],
    original: dict[str, float],
    exact: OtherModel | None,
    hyper: dict[str, Any],
    forgotten: int | None,
    fresh: bool,
) -> list[str]:
    lost = original["TA"] - unlearned["TA"]
    if fresh:
        poor = f"has learnt less than the original (TA {_percent(unlearned['TA'])} for {_percent(original['TA'])})"
        return [f"warning: {poor}; train it as the original was, or gaps to it say little"] if lost > RUINED else []
    if lost > RUINED and (exact is None or exact.scores["TA"] - unlearned["TA"] > RUINED):
        fell = f"TA fell from {_percent(original['TA'])} to {_percent(unlearned['TA'])}"
        return [f"ruined the model: {fell}; {knobs('lower', hyper)}"]
    moved = max(MOVED, min(1.5 / forgotten, 1.0) if forgotten else 0.0)
    if unlearned["UA"] - original["UA"] >= moved:
        return []
    if exact is not None and exact.scores["UA"] - original["UA"] < moved:
        return []
    now, then = _percent(unlearned["UA"]), _percent(original["UA"])
    still = f"that of the original ({now})" if now == then else f"{now}, that of the original {then}"
    target = "" if exact is None else f", Retrain's is {_percent(exact.scores['UA'])}"
    return [f"forgot nothing: UA is {still}{target}; {knobs('raise', hyper)}"]


def _against_retrain(unlearned: dict[str, float], first: OtherModel | None, exact: OtherModel) -> str:
    signed = ", ".join(f"{metric} {100 * (unlearned[metric] - exact.scores[metric]):+.2f}" for metric in METRICS)
    gap = average_gap(unlearned, exact.scores)
    line = f"average gap to Retrain {100 * gap:.2f} points ({signed})"
    if first is None:
        return line
    idle = average_gap(first.scores, exact.scores)
    return f"{line}; doing nothing: {100 * idle:.2f}" + ("" if gap < idle else ", which is nearer")


def backdoor_scores(scores: dict[str, float | None]) -> str:
    """ASR, ASR of other classes and SA on one line, in per cent.

    Args:
        scores: fractions in [0, 1] by the keys of ``BACKDOOR``; None prints a dash.
    """
    return "  ".join(f"{title} {percent(scores[name])} %" for name, title in BACKDOOR.items())


def backdoor_sentence(result: dict[str, Any]) -> str:
    """One sentence on whether the trigger still works after unlearning.

    Args:
        result: the run's ``result.json``, with ASR before and after.
    """
    before, after = (result["scores"][when]["ASR"] for when in ("before", "after"))
    moved = f"ASR {percent(before)} -> {percent(after)} %"
    if before < WORKS:
        hint = "there is nothing to cleanse; poison more images or enlarge --trigger_size"
        return f"the trigger never worked ({moved}): {hint}"
    if after > before / 2:
        return f"the trigger still works ({moved}); {knobs('raise', result['config'].get('hyper', {}))}"
    return f"the trigger works on less than half as many images ({moved})"


def knobs(direction: str, hyper: dict[str, Any]) -> str:
    """Advice which flags of the method to change so that it forgets more or less, with their present values.

    Args:
        direction: the verb, "raise" or "lower".
        hyper: the method's hyper-parameters.
    """
    names: list[str] = [name for name in ("unlearn_lr", "unlearn_epochs") if name in hyper]
    names = names or [name for name in ("alpha",) if name in hyper]
    numbers = {name: f" (now {hyper[name]:g})" for name in names if isinstance(hyper[name], (int, float))}
    listed = " or ".join(f"--{name}{numbers.get(name, '')}" for name in names)
    return f"{direction} {listed}" if listed else "choose another method"


def _percent(share: float) -> str:
    return f"{percent(share)} %"
