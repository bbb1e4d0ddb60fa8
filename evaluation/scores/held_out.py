"""What is left of the forgotten classes on images that no model was trained on."""

from __future__ import annotations

from evaluation.scoring import Outputs, score


@score("TUA", "1 - accuracy on the test images of the forgotten classes or subclasses", reads={"forget_test"})
def test_unlearning_accuracy(outputs: Outputs) -> float:
    """Fraction in [0, 1]; for forgotten parts of classes there are no such images.

    Source: Unlearning Comparator 2025.
    """
    return 1 - outputs.sets["forget_test"].accuracy
