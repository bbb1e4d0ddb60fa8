"""Unlearning accuracy on test images of the forgotten classes."""

from __future__ import annotations

from evaluation.scoring import Outputs, score


@score("TUA", "1 - accuracy on the test images of the forgotten classes or subclasses", reads={"forget_test"})
def test_unlearning_accuracy(outputs: Outputs) -> float:
    """TUA, 1 - accuracy on the test images of forgotten classes, in [0, 1]; not for forgotten parts of classes.

    Source: Unlearning Comparator 2025.
    """
    return 1 - outputs.sets["forget_test"].accuracy
