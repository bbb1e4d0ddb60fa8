"""Every score of one run, derived from the model's outputs."""

from __future__ import annotations

from typing import Any

from evaluation import deepunlearn, divergence, mia
from evaluation.predict import Predictions

SETS = ("retain", "forget", "val", "test")


def score(
    outputs: dict[str, Predictions],
    compat: str,
    retrained: dict[str, Predictions] | None = None,
    trained_on_val: bool = False,
) -> dict[str, Any]:
    """Accuracies and attacks from the outputs on retain, forget, val and test.

    Args:
        retrained: outputs of the retrained model, which add ``to_retrained`` (``divergence.compare``).
        trained_on_val: whether the method did, so that no attack may take validation images for never seen.
    Returns:
        ``accuracy`` by set and the attacks by the reference's keys, all fractions in [0, 1]; the accuracy
        on a set without images, as validation on very small data can be, is None.
        ``threshold_attacks`` holds pairs: members judged members, forgotten judged non-members.
        ``entropy_attack`` is the fraction of the forget set judged members. ``deepunlearn`` has Deep Unlearn's
        attack on losses, by the set of non-members: validation (unless trained on) and test images.
    """
    retain, forget, test = _for_attacks(outputs, compat)
    shadows = min(len(test), len(retain) // 2)
    return {
        "accuracy": {name: outputs[name].accuracy if len(outputs[name]) else None for name in SETS},
        "SVC_MIA_forget_efficacy": mia.forget_efficacy(retain, test, forget, compat),
        "SVC_MIA_training_privacy": mia.training_privacy(retain, test, compat),
        "threshold_attacks": {
            key: list(pair)
            for key, pair in mia.threshold_attacks(retain[:shadows], test[:shadows], retain[shadows:], forget).items()
        },
        "entropy_attack": mia.entropy_attack(retain, test, forget),
        **({} if retrained is None else {"to_retrained": divergence.compare(outputs, retrained)}),
        "deepunlearn": deepunlearn.scores(outputs, ["test"] if trained_on_val else ["val", "test"]),
    }


def _for_attacks(outputs: dict[str, Predictions], compat: str) -> tuple[Predictions, Predictions, Predictions]:
    """Retain, forget and test outputs in the order in which attacks take them."""
    retain, forget, test = outputs["retain"], outputs["forget"], outputs["test"]
    return (mia.mixed(retain), forget, mia.mixed(test)) if compat == "fixed" else (retain, forget, test)


def four(outputs: dict[str, Predictions], compat: str) -> dict[str, float]:
    """UA, MIA-Efficacy, RA and TA alone, fractions in [0, 1], for a model that another is set beside."""
    retain, forget, test = _for_attacks(outputs, compat)
    attack = mia.forget_efficacy(retain, test, forget, compat, ("confidence",))
    ua, ra, ta = 1 - outputs["forget"].accuracy, outputs["retain"].accuracy, outputs["test"].accuracy
    return {"UA": ua, "MIA-Efficacy": attack["confidence"], "RA": ra, "TA": ta}


def paper_scores(scores: dict[str, Any], seconds: float | None) -> dict[str, float | None]:
    """The paper's five scores: four fractions in [0, 1] and RTE in minutes (None if it was not measured).

    Source: Jia et al. 2023, section 5.1.
    """
    return {
        "UA": 1 - scores["accuracy"]["forget"],
        "RA": scores["accuracy"]["retain"],
        "TA": scores["accuracy"]["test"],
        "MIA-Efficacy": scores["SVC_MIA_forget_efficacy"]["confidence"],
        "RTE": None if seconds is None else seconds / 60,
    }


def reference_result(scores: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The scores as the reference's files hold them: accuracies in per cent, attacks as fractions."""
    return {
        "accuracy": {name: None if value is None else 100 * value for name, value in scores["accuracy"].items()},
        "SVC_MIA_forget_efficacy": dict(scores["SVC_MIA_forget_efficacy"]),
        "SVC_MIA_training_privacy": dict(scores["SVC_MIA_training_privacy"]),
    }
