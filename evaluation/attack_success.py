"""Scores of a backdoored model: accuracy on clean images, and success rate of the trigger. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.predict import Predictions


def score(test: Predictions, triggered: Predictions) -> dict[str, float | None]:
    """Scores in [0, 1] from the outputs on the clean test images and on the same images with the trigger.

    Args:
        test: outputs on the clean test images.
        triggered: outputs on the same images with the trigger, in the same order, labelled with the target class.
    Returns:
        ``SA``, the accuracy on clean images. ``ASR``, the share of all triggered images that are classified as the
        target (the reference's ``attack_acc``); images of the target class count too, so a clean model has an ASR of
        about that class's share. ``ASR_other``, the share among images of other classes only (None if there are none).
    Source: Jia et al. 2023, section 5.3, and released code.
    """
    obeyed = triggered.logits.argmax(1) == triggered.labels
    others = test.labels != triggered.labels
    return {
        "SA": test.accuracy,
        "ASR": triggered.accuracy,
        "ASR_other": float(obeyed[others].double().mean()) if bool(others.any()) else None,
    }


def reference_result(before: dict[str, Any], after: dict[str, Any] | None = None) -> dict[str, float]:
    """The scores as the reference's files hold them, in per cent.

    Args:
        before, after: what ``score`` returns before and after unlearning, the latter None if there was none.
    """
    result = {"test_acc": 100 * before["SA"], "attack_acc": 100 * before["ASR"]}
    if after is not None:
        result |= {"test_acc_unlearn": 100 * after["SA"], "attack_acc_unlearn": 100 * after["ASR"]}
    return result
