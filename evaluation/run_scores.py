"""Every score of one run, derived from the model's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation import mia, scoring
from evaluation.predict import Predictions

SETS = ("retain", "forget", "val", "test", "forget_test")
SVC = ("SVC_MIA_forget_efficacy", "SVC_MIA_training_privacy")
LARGER = ("SVC_MIA_training_privacy", "threshold_attacks")  # attacks that need two images of a set


def score(
    outputs: Mapping[str, Predictions],
    compat: str,
    retrained: Mapping[str, Predictions] | None = None,
    trained_on_val: bool = False,
    **beside: Any,
) -> dict[str, Any]:
    """Accuracies, and every score in ``evaluation/scores``, from the outputs on the sets ``SETS``.

    Args:
        outputs: predictions by set; val, test and forget_test may be missing, and with them the scores that need them.
        compat: "fixed" or "reference".
        retrained: outputs of the retrained model, which add ``to_retrained``.
        trained_on_val: whether the method trained on validation images, which attacks then may not take for never seen.
        beside: further attributes of ``scoring.Outputs``.
    Returns:
        ``accuracy`` by set, fractions in [0, 1], None for a set without images (validation can be empty on very small
        data); and what each score returns, by its name.
    """
    accuracy = {name: outputs[name].accuracy if len(outputs[name]) else None for name in SETS if name in outputs}
    return {
        "accuracy": accuracy,
        **scoring.measure(scoring.Outputs(outputs, retrained, compat, trained_on_val, **beside)),
    }


def left_out(scores: dict[str, Any]) -> str:
    """A line that names the attacks left out for want of images; "" if there are none."""
    lacking = ", ".join(name for name in LARGER if name not in scores)
    return lacking and f"left out, as they need two retain and two test images: {lacking}"


def four(outputs: Mapping[str, Predictions], compat: str) -> dict[str, float]:
    """UA, MIA-Efficacy, RA and TA alone, fractions in [0, 1], to set models side by side."""
    retain, forget, test = mia.arranged(outputs, compat)
    attack = mia.forget_efficacy(retain, test, forget, compat, ("confidence",))
    ua, ra, ta = 1 - outputs["forget"].accuracy, outputs["retain"].accuracy, outputs["test"].accuracy
    return {"UA": ua, "MIA-Efficacy": attack["confidence"], "RA": ra, "TA": ta}


def paper_scores(scores: dict[str, Any], seconds: float | None) -> dict[str, float | None]:
    """The paper's five scores: four fractions in [0, 1] and RTE in minutes; None for what was not measured.

    Source: Jia et al. 2023, section 5.1.
    """
    return {
        "UA": 1 - scores["accuracy"]["forget"],
        "RA": scores["accuracy"]["retain"],
        "TA": scores["accuracy"].get("test"),
        "MIA-Efficacy": scoring.stored(scores, ("SVC_MIA_forget_efficacy", "confidence")),
        "RTE": None if seconds is None else seconds / 60,
    }


def reference_result(scores: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The scores as the reference's files hold them: accuracies in per cent, attacks as fractions."""
    return {
        "accuracy": {name: None if value is None else 100 * value for name, value in scores["accuracy"].items()},
        **{name: dict(scores[name]) for name in SVC if name in scores},
    }
