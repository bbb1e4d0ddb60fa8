"""ROC numbers of an attack's scores, and how sure they are."""

from __future__ import annotations

import numpy as np

from utils.errors import UsageError

RATES = (0.0, 0.001, 0.01, 0.1)  # false positive rates at which the true positive rate is reported


def curve(scores: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every distinct threshold, from (0, 0) to (1, 1); no point is dropped.

    Args:
        scores: larger means member, float [n].
        members: the truth, bool [n].
    Returns:
        Two arrays, float64 [distinct scores + 1], ascending.
    Raises:
        UsageError: members or non-members are missing, or a score is NaN.
    """
    _, members, last = _sorted(scores, members)
    return _rates(members, last)


def roc(scores: np.ndarray, members: np.ndarray, threshold: float | None = None) -> dict[str, float]:
    """``auc``, ``accuracy``, and ``tpr@x`` for every false positive rate x of ``RATES``.

    The AUC is the trapezoid's. ``accuracy`` is the largest mean of true positive and true negative rate.
    ``tpr@x`` is the largest true positive rate among the points with at most x false positives, not interpolated;
    with fewer than 1/x non-members it is that without any error.

    Args:
        threshold: adds ``balanced_accuracy``, the mean of the two rates where larger scores are called members.
        scores, members, and errors: as of ``curve``.
    """
    order, members, last = _sorted(scores, members)
    return _numbers(*_rates(members, last), _above(np.asarray(scores)[order][last], threshold))


def intervals(
    scores: np.ndarray,
    members: np.ndarray,
    splits: np.ndarray,
    threshold: float | None = None,
    drawn: int | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap interval of every number of ``roc``, over splits.

    Models of one split share their training images, so whole splits are drawn with replacement, never single scores.
    The attack is not fitted anew. A million scores take less than a minute.

    Args:
        splits: the split of the model that each score is of, int [n]; at least two different ones.
        drawn: splits that make a sample; as many as there are by default.
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
    order, members, last = _sorted(scores, members)
    above, position = _above(np.asarray(scores)[order][last], threshold), position[order]
    random, found = np.random.default_rng(seed), []
    for _ in range(draws):
        weights = random.multinomial(drawn or len(names), np.full(len(names), 1 / len(names)))[position]
        if weights[members].any() and weights[~members].any():
            found.append(_numbers(*_rates(members, last, weights), above))
    return {key: tuple(np.percentile([one[key] for one in found], [2.5, 97.5]).tolist()) for key in found[0]}


def _sorted(scores: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order from the largest score down, who is a member in that order, and where the last of equal scores is."""
    scores, members = np.asarray(scores, np.float64), np.asarray(members, bool)
    if scores.ndim != 1 or scores.shape != members.shape:
        raise UsageError(f"ROC: needs scores and members of one length, not {scores.shape} and {members.shape}")
    if np.isnan(scores).any():
        raise UsageError("ROC: a score is NaN; leave out what an attack could not score")
    if not 0 < members.sum() < len(members):
        raise UsageError(
            f"ROC: needs members and non-members, not {members.sum()} and {(~members).sum()}; give images of both kinds"
        )
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    return order, members[order], np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(scores) - 1)


def _rates(members: np.ndarray, last: np.ndarray, weights: np.ndarray | int = 1) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates of scores in order, each counted ``weights`` times."""
    counts = [np.append(0, (side * weights).cumsum()[last]) for side in (~members, members)]
    return counts[0] / counts[0][-1], counts[1] / counts[1][-1]


def _above(scores: np.ndarray, threshold: float | None) -> int | None:
    """How many distinct scores, the largest first, exceed the threshold."""
    return None if threshold is None else int((scores > threshold).sum())


def _numbers(fpr: np.ndarray, tpr: np.ndarray, above: int | None) -> dict[str, float]:
    found = {"auc": float((np.diff(fpr) * (tpr[1:] + tpr[:-1])).sum() / 2)}
    found["accuracy"] = float((1 + tpr - fpr).max() / 2)
    found |= {f"tpr@{rate}": float(tpr[np.searchsorted(fpr, rate, side="right") - 1]) for rate in RATES}
    return found if above is None else found | {"balanced_accuracy": float((1 + tpr[above] - fpr[above]) / 2)}
