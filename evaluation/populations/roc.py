"""ROC numbers of an attack's scores, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utils.errors import UsageError

RATES = (0.0, 0.001, 0.01, 0.1)  # false positive rates at which the true positive rate is reported
POINTS = 1 << 14  # distinct scores up to which an interval is exact


@dataclass(frozen=True)
class Bootstrap:
    """How an interval is drawn: samples, its level in (0, 1), and the seed."""

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
    """``auc``, ``accuracy``, and ``tpr@x`` for every false positive rate x of ``RATES``.

    The AUC is the trapezoid's. ``accuracy`` is the largest mean of true positive and true negative rate.
    ``tpr@x`` is the largest true positive rate among the points with at most x false positives, not interpolated;
    with fewer than 1/x non-members it is that without any error.

    Args:
        threshold: adds ``balanced_accuracy``, the mean of the two rates where larger scores are called members.
        scores, members, and errors: as of ``curve``.
    """
    order, members, last = _sorted(scores, members)
    numbers = _numbers(*_rates(members, last), _above(np.asarray(scores)[order][last], threshold))
    return {key: float(value) for key, value in numbers.items()}


def interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """What the middle ``level`` of the samples, float [draws], lies between; NaN ones are left out."""
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

    Sample i of two attacks on the same splits is of the same splits, so differences of them are paired.

    Models of one split share their training images, so whole splits are drawn with replacement, never single scores.
    The attack is not fitted anew. Of more than ``POINTS`` distinct scores the curve is followed through fewer, which
    lie closest at small rates. Ten million scores take some seconds.

    Args:
        splits: the split of the model that each score is of, int [n]; at least two different ones.
        drawn: splits that make a sample; as many as there are by default.
        bootstrap: samples and seed; a sample without members or non-members is NaN.
        scores, members, threshold: as of ``roc``.
    Raises:
        UsageError: as ``curve``, or there is only one split.
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
    """About ``most`` points of a curve at most, which lie closest at small rates, with both ends."""
    if len(fpr) <= most:
        return fpr, tpr
    smallest = max(fpr[fpr > 0].min(), 1e-9)
    indices = [np.searchsorted(fpr, np.geomspace(smallest, 1, most // 2), side="right") - 1]
    indices += [np.searchsorted(side, np.linspace(0, 1, most // 4), side="right") - 1 for side in (fpr, tpr)]
    chosen = np.union1d(np.concatenate(indices), [0, len(fpr) - 1])
    return fpr[chosen], tpr[chosen]


def _points(members: np.ndarray, last: np.ndarray, above: int | None) -> np.ndarray:
    """Which distinct scores the curves of samples go through, ascending; the last is always there."""
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


def _rates(members: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates of scores in order."""
    counts = [np.append(0, side.cumsum()[last]) for side in (~members, members)]
    return counts[0] / counts[0][-1], counts[1] / counts[1][-1]


def _above(scores: np.ndarray, threshold: float | None) -> int | None:
    """How many distinct scores, the largest first, exceed the threshold."""
    return None if threshold is None else int((scores > threshold).sum())


def _numbers(fpr: np.ndarray, tpr: np.ndarray, above: int | None) -> dict[str, np.ndarray]:
    """The numbers of curves, float64 [..., points], by name."""
    numbers = {"auc": (np.diff(fpr) * (tpr[..., 1:] + tpr[..., :-1])).sum(-1) / 2}
    numbers["accuracy"] = (1 + tpr - fpr).max(-1) / 2
    for rate in RATES:
        place = (fpr <= rate).sum(-1, keepdims=True) - 1
        numbers[f"tpr@{rate}"] = np.take_along_axis(tpr, place, -1)[..., 0]
    return numbers if above is None else numbers | {"balanced_accuracy": (1 + tpr[..., above] - fpr[..., above]) / 2}
