"""How close accuracies are to those of the retrained model, as single numbers. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping

SETS = ("retain", "forget", "test")


def tug_of_war(unlearned: Mapping[str, float], retrained: Mapping[str, float]) -> float:
    """ToW = product over forget, retain and test of 1 - |difference of the accuracies|: in [0, 1], 1 is as retrained.

    Args:
        unlearned, retrained: accuracies in [0, 1] by set, with "retain", "forget" and "test".
    Source: Zhao et al. 2024 (What makes unlearning hard and what to do about it).
    """
    product = 1.0
    for name in SETS:
        product *= 1 - abs(unlearned[name] - retrained[name])
    return product


def indiscernibility(accuracy: float) -> float:
    """1 for an attack that guesses, 0 for one that is always right or always wrong: 1 - |2 accuracy - 1|."""
    return 1 - abs(2 * accuracy - 1)


def retention(accuracy: float, retrained: float) -> float:
    """Accuracy as a share of the retrained model's on the same images; 1 is ideal.

    Raises:
        ZeroDivisionError: the retrained model's accuracy is 0.
    """
    return accuracy / retrained


def retention_deviation(accuracies: Mapping[str, float], retrained: Mapping[str, float]) -> float | None:
    """RD, the sum of |retention - 1| over the retain, forget and test set; 0 is ideal.

    Args:
        accuracies, retrained: accuracy in [0, 1] by set, with "retain", "forget" and "test".
    Returns:
        The sum, at least 0; None if the retrained model's accuracy on one of the sets is 0.
    """
    if not all(retrained[name] for name in SETS):
        return None
    return sum(abs(retention(accuracies[name], retrained[name]) - 1) for name in SETS)


def mean_sape(accuracies: Mapping[str, float], retrained: Mapping[str, float]) -> float:
    """SAPE, the mean of ``sape`` over the retain, forget and test set, in [0, 1]; 0 is as retrained.

    Args:
        accuracies, retrained: accuracies in [0, 1] by set, with "retain", "forget" and "test".
    """
    return sum(sape(accuracies[name], retrained[name]) for name in SETS) / len(SETS)


def sape(value: float, other: float) -> float:
    """Symmetric absolute error |a - b| / (|a| + |b|), in [0, 1]; 0 for two zeros."""
    return abs(value - other) / (abs(value) + abs(other)) if value or other else 0.0
