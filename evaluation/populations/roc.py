"""ROC numbers of an attack's scores, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utils.errors import UsageError

RATES = (0.0, 0.001, 0.01, 0.1)  # false positive rates at which the true positive rate is reported
POINTS = 1 << 14  # distinct scores up to which an interval is exact


@dataclass(frozen=True)
class Bootstrap:
    """How an interval is drawn.

    Attributes:
        draws: number of bootstrap samples.
        level: share of the samples that lie inside, in (0, 1).
        seed: seeds the draws.
    """

    draws: int = 1000
    level: float = 0.95
    seed: int = 0


USUAL = Bootstrap()


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
    """``auc``, ``accuracy``, and ``tpr@x`` for every false positive rate x of ``RATES``, all in [0, 1].

    The AUC is computed by the trapezoidal rule. ``accuracy`` is the largest mean of true positive and true negative
    rate. ``tpr@x`` is the largest true positive rate among the points with a false positive rate of at most x, not
    interpolated. With fewer than 1/x non-members it is the rate without any false positive.

    Args:
        scores: larger means member, float [n].
        members: the truth, bool [n].
        threshold: adds ``balanced_accuracy``, the mean of the two rates if larger scores are called members.
    Raises:
        UsageError: members or non-members are missing, or a score is NaN.
    """
    order, members, last = _sorted(scores, members)
    numbers = _numbers(*_rates(members, last), _above(np.asarray(scores)[order][last], threshold))
    return {key: float(value) for key, value in numbers.items()}


def interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Lower and upper bound of the middle share ``level`` of the samples ``values``, float [draws]; NaN is ignored."""
    low, high = np.nanpercentile(values, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def samples(
    scores: np.ndarray,
    members: np.ndarray,
    splits: np.ndarray,
    threshold: float | None = None,
    drawn: int | None = None,
    bootstrap: Bootstrap = USUAL,
) -> dict[str, np.ndarray]:
    """Every number of ``roc`` on bootstrap samples, by its name, float64 [draws].

    Models of one split share their training images, so whole splits are drawn with replacement, never single scores.
    Sample i draws the same splits for all attacks on the same splits, so differences between attacks are paired. The
    attack is not fitted anew. With more than ``POINTS`` distinct scores the curve goes through fewer points, which are
    densest at small rates. Ten million scores take some seconds.

    Args:
        scores, members, threshold: those of ``roc``.
        splits: for each score the split of its model, int [n]; at least two different ones.
        drawn: number of splits in a sample; None for as many as there are.
        bootstrap: number of samples, and seed; a sample without members or non-members is NaN.
    Raises:
        UsageError: members or non-members are missing, a score is NaN, or there is only one split.
    """
    names, position = np.unique(np.asarray(splits), return_inverse=True)
    if len(names) < 2:
        raise UsageError(f"an interval over splits needs at least 2 splits, and there is {len(names)}; train on more")
    order, members, last = _sorted(scores, members)
    above, position = _above(np.asarray(scores)[order][last], threshold), position[order]
    points = _points(members, last, above)
    bins = np.searchsorted(last[points], np.arange(len(members)))
    sides = [_counts(position[side], bins[side], len(names), len(points)) for side in (~members, members)]
    times = np.random.default_rng(bootstrap.seed).multinomial(
        drawn or len(names), [1 / len(names)] * len(names), bootstrap.draws
    )
    usable = np.all([(times @ side[:, -1]) > 0 for side in sides], axis=0)
    times = times[usable].astype(float)
    place = None if above is None else int(np.searchsorted(points, above))
    parts = []
    for some in np.array_split(times, max(len(times) * len(points) >> 23, 1)):
        fpr, tpr = (counts / counts[:, -1:] for counts in (some @ side for side in sides))
        parts.append(_numbers(fpr, tpr, place))
    numbers = {key: np.full(bootstrap.draws, np.nan) for key in parts[0]}
    for key, values in numbers.items():
        values[usable] = np.concatenate([part[key] for part in parts])
    return numbers


def thinned(fpr: np.ndarray, tpr: np.ndarray, most: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """At most about ``most`` points of a curve, densest at small rates, with both ends."""
    if len(fpr) <= most:
        return fpr, tpr
    smallest = max(fpr[fpr > 0].min(), 1e-9)
    indices = [np.searchsorted(fpr, np.geomspace(smallest, 1, most // 2), side="right") - 1]
    indices += [np.searchsorted(side, np.linspace(0, 1, most // 4), side="right") - 1 for side in (fpr, tpr)]
    chosen = np.union1d(np.concatenate(indices), [0, len(fpr) - 1])
    return fpr[chosen], tpr[chosen]


def _points(members: np.ndarray, last: np.ndarray, above: int | None) -> np.ndarray:
    """Indices of the distinct scores that the curves of samples go through, ascending, the last one included."""
    if len(last) <= POINTS:
        return np.arange(len(last))
    fpr, tpr = _rates(members, last)
    steps = np.geomspace(1 / (~members).sum(), 1, POINTS // 2)
    indices = [np.searchsorted(fpr, steps, side="right") - 2]
    indices += [np.searchsorted(side, np.linspace(0, 1, POINTS // 4), side="right") - 2 for side in (fpr, tpr)]
    indices += [np.array([len(last) - 1] + ([] if above is None else [above - 1]))]
    chosen = np.unique(np.concatenate(indices))
    return chosen[chosen >= 0]


def _counts(position: np.ndarray, bins: np.ndarray, splits: int, points: int) -> np.ndarray:
    """How many scores of each split are at least as large as each point, 0 in front: float64 [splits, points + 1]."""
    counts = np.bincount(position * points + bins, minlength=splits * points).reshape(splits, points)
    return np.concatenate([np.zeros((splits, 1)), counts.cumsum(1)], axis=1)


def _sorted(scores: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices from the largest score down, members in this order, and the last position of every distinct score."""
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


def _rates(members: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every distinct score, from the results of ``_sorted``."""
    counts = [np.append(0, side.cumsum()[last]) for side in (~members, members)]
    return counts[0] / counts[0][-1], counts[1] / counts[1][-1]


def _above(scores: np.ndarray, threshold: float | None) -> int | None:
    """How many distinct scores, the largest first, exceed the threshold."""
    return None if threshold is None else int((scores > threshold).sum())


def _numbers(fpr: np.ndarray, tpr: np.ndarray, above: int | None) -> dict[str, np.ndarray]:
    """The numbers of ``roc`` by name, from the rates of one or several curves, float64 [..., points]."""
    numbers = {"auc": (np.diff(fpr) * (tpr[..., 1:] + tpr[..., :-1])).sum(-1) / 2}
    numbers["accuracy"] = (1 + tpr - fpr).max(-1) / 2
    for rate in RATES:
        place = (fpr <= rate).sum(-1, keepdims=True) - 1
        numbers[f"tpr@{rate}"] = np.take_along_axis(tpr, place, -1)[..., 0]
    return numbers if above is None else numbers | {"balanced_accuracy": (1 + tpr[..., above] - fpr[..., above]) / 2}
