"""ROC numbers of an attack's scores, and how sure they are."""

from __future__ import annotations

import numpy as np

from utils.errors import UsageError

RATES = (0.0, 0.001, 0.01, 0.1)  # false positive rates at which the true positive rate is reported


def curve(scores: np.ndarray, members: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every distinct threshold, from (0, 0) to (1, 1); no point is dropped.

    Args:
        scores: larger means member, float [n].
        members: the truth, bool [n].
        weights: how often each score counts, [n]; once each by default.
    Returns:
        Two arrays, float64 [distinct scores + 1], ascending.
    Raises:
        UsageError: members or non-members are missing, or a score is NaN.
    """
    scores, members = np.asarray(scores, np.float64), np.asarray(members, bool)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    if scores.ndim != 1 or not scores.shape == members.shape == weights.shape:
        raise UsageError(f"ROC: needs scores and members of one length, not {scores.shape} and {members.shape}")
    if np.isnan(scores).any():
        raise UsageError("ROC: a score is NaN; leave out what an attack could not score")
    positives, negatives = (weights * side for side in (members, ~members))
    if not (positives.any() and negatives.any()):
        raise UsageError(f"ROC: needs members and non-members, not {members.sum()} and {(~members).sum()}")
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    rates = [np.append(0.0, side[order].cumsum()[last]) / side.sum() for side in (negatives, positives)]
    return rates[0], rates[1]


def roc(
    scores: np.ndarray, members: np.ndarray, weights: np.ndarray | None = None, threshold: float | None = None
) -> dict[str, float]:
    """``auc``, ``accuracy``, and ``tpr@x`` for every false positive rate x of ``RATES``.

    The AUC is the trapezoid's. ``accuracy`` is the largest mean of true positive and true negative rate.
    ``tpr@x`` is the largest true positive rate among the points with at most x false positives, not interpolated;
    with fewer than 1/x non-members it is that without any error.

    Args:
        threshold: adds ``balanced_accuracy``, the mean of the two rates where larger scores are called members.
        scores, members, weights, and errors: as of ``curve``.
    """
    fpr, tpr = curve(scores, members, weights)
    found = {
        "auc": float((np.diff(fpr) * (tpr[1:] + tpr[:-1])).sum() / 2),
        "accuracy": float((1 + tpr - fpr).max() / 2),
    }
    found |= {f"tpr@{rate}": float(tpr[fpr <= rate].max()) for rate in RATES}
    if threshold is not None:
        above, weights = np.asarray(scores) > threshold, np.ones(len(scores)) if weights is None else weights
        truth = np.asarray(members, bool)
        right = [np.average(above == side, weights=weights * (truth == side)) for side in (True, False)]
        found["balanced_accuracy"] = float(np.mean(right))
    return found


def intervals(
    scores: np.ndarray,
    members: np.ndarray,
    splits: np.ndarray,
    threshold: float | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap interval of every number of ``roc``, over splits.

    Models of one split share their training images, so whole splits are drawn with replacement, never single scores.
    The attack is not fitted anew.

    Args:
        splits: the split of the model that each score is of, int [n]; at least two different ones.
        draws: bootstrap samples; one without members or non-members is left out.
        scores, members, threshold: as of ``roc``.
    Returns:
        (lower, upper) by the names of ``roc``.
    Raises:
        UsageError: as ``curve``, or there is only one split.
    """
    names, position = np.unique(np.asarray(splits), return_inverse=True)
    if len(names) < 2:
        raise UsageError(f"an interval over splits needs at least 2 splits, and there is {len(names)}; train on more")
    curve(scores, members)
    order = np.argsort(-np.asarray(scores, np.float64))  # once, since what is sorted is sorted again at no cost
    scores, members, position = np.asarray(scores)[order], np.asarray(members, bool)[order], position[order]
    random, found = np.random.default_rng(seed), []
    for _ in range(draws):
        weights = random.multinomial(len(names), np.full(len(names), 1 / len(names)))[position]
        if weights[members].any() and weights[~members].any():
            found.append(roc(scores, members, weights, threshold))
    tail = 50 * (1 - level)
    return {key: tuple(np.percentile([one[key] for one in found], [tail, 100 - tail]).tolist()) for key in found[0]}
