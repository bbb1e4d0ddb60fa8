"""U-LiRA: can models that were made to forget an image be told from models that never saw it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from evaluation.populations.normal import log_density, moments
from evaluation.populations.roc import roc
from utils.errors import UsageError

FEWEST = 2  # an image with fewer models on one side is not scored


def ulira(
    unlearned: np.ndarray, held_out: np.ndarray, split: np.ndarray, small: int = 16, folds: int = 2
) -> dict[str, Any]:
    """Log likelihood ratio of "forgot the image" against "never saw it", for every model and image of either side.

    Models of one split share their training images and stay together: split s belongs to fold s mod ``folds``. Each
    fold is scored by normal distributions that were fitted to the other folds, so no model is scored by a fit to
    itself. The standard deviation is each image's own from ``small`` models on, else pooled over the images of that
    side; at least 1e-3. An image with fewer than two models on either side of a fit is not scored.

    Args:
        unlearned: margins of images that a model was trained on and made to forget, float [models, images], NaN
            elsewhere.
        held_out: margins of images that a model never saw, alike; a row belongs to the same split as that of
            ``unlearned``.
        split: the number of each model's split, int [models].
        small: models on one side from which an image has a standard deviation of its own.
        folds: at least 2; any number above the largest split leaves one split out at a time.
    Returns:
        ``unlearned``, ``held_out``: scores, float64 [models, images], NaN where there is none; ``per_sample``:
        balanced accuracy of "score > 0" by image, float64 [images], NaN where a side has no score; and over all
        scores the numbers of ``roc`` and ``balanced_accuracy``.
    Raises:
        UsageError: shapes do not fit, or the population is too small to score any image.
    Source: Hayes et al. 2024; Cadet et al. 2024 (Deep Unlearn) for the populations.
    """
    unlearned, held_out, split = np.asarray(unlearned, np.float64), np.asarray(held_out, np.float64), np.asarray(split)
    if unlearned.ndim != 2 or unlearned.shape != held_out.shape or split.shape != unlearned.shape[:1] or folds < 2:
        raise UsageError(
            "U-LiRA: needs margins [models, images] of both sides, a split per model and at least 2 folds, "
            f"not {unlearned.shape}, {held_out.shape}, {split.shape} and {folds}"
        )
    if np.isinf(unlearned).any() or np.isinf(held_out).any():
        raise UsageError("U-LiRA: a margin is infinite; leave out models that diverged")
    scores = [np.full_like(unlearned, np.nan) for _ in range(2)]
    for fold in np.unique(split % folds):
        mine = split % folds == fold
        ratio = _fit(unlearned[~mine], held_out[~mine], small)
        for group, margins in zip(scores, (unlearned, held_out)):
            group[mine] = ratio(margins[mine])
    if any(np.isnan(group).all() for group in scores):
        raise UsageError(_too_few(unlearned, held_out))
    right = [np.where(np.isnan(group), np.nan, (group > 0) == side) for group, side in zip(scores, (True, False))]
    return {
        "unlearned": scores[0],
        "held_out": scores[1],
        "per_sample": (mean(right[0]) + mean(right[1])) / 2,
        **roc(*pooled(scores[0], scores[1], split)[:2], threshold=0.0),
    }


def pooled(unlearned: np.ndarray, held_out: np.ndarray, split: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All scores of ``ulira`` in one row, as ``roc`` and ``samples`` take them; NaN is left out.

    Args:
        unlearned, held_out: scores, float64 [models, images].
        split: int [models].
    Returns:
        Scores, float64 [n]; whether each is of the unlearned side, bool [n]; its split, int [n].
    """
    known = [~np.isnan(group) for group in (unlearned, held_out)]
    splits = [np.broadcast_to(np.asarray(split)[:, None], group.shape)[group] for group in known]
    scores = [group[mask] for group, mask in zip((unlearned, held_out), known)]
    return (np.concatenate(scores), np.repeat([True, False], [len(group) for group in scores]), np.concatenate(splits))


def halved(splits: np.ndarray) -> int:
    """How many splits a bootstrap sample should draw if two folds are each scored by a fit to the other.

    That is half of the splits, less one, and at least 1. Such scores are not independent, since two splits of different
    folds meet twice. Where there is nothing to find, this doubles the variance. With U-LiRA, intervals from samples of
    full size then hold the true value one half in 75 to 80 of 100 populations of 16 splits, those from samples of this
    size in 92. Where an attack succeeds they are wider than necessary.

    Args:
        splits: the split of each score, int [n].
    """
    return max(len(np.unique(splits)) // 2 - 1, 1)


def mean(values: np.ndarray) -> np.ndarray:
    """Mean over the models, [models, images] to [images]; NaN is left out, and the result for an image without any."""
    count = (~np.isnan(values)).sum(0)
    return np.where(count > 0, np.nansum(values, 0) / np.maximum(count, 1), np.nan)


def _fit(unlearned: np.ndarray, held_out: np.ndarray, small: int) -> Callable[[np.ndarray], np.ndarray]:
    """The log likelihood ratio as a function of margins [..., images], NaN where an image cannot be scored."""
    sides = [moments(margins) for margins in (unlearned, held_out)]
    spreads = [np.where(side.count >= small, side.spread, side.pooled_spread) for side in sides]
    known = np.minimum(sides[0].count, sides[1].count) >= FEWEST

    def ratio(margins: np.ndarray) -> np.ndarray:
        forgot, never = (log_density(margins, side.mean, spread) for side, spread in zip(sides, spreads))
        return np.where(known, forgot - never, np.nan)

    return ratio


def _too_few(unlearned: np.ndarray, held_out: np.ndarray) -> str:
    forgot, never = ((~np.isnan(margins)).sum(0).max(initial=0) for margins in (unlearned, held_out))
    return (
        f"U-LiRA: no image can be scored: {FEWEST} models that forgot an image and {FEWEST} that never saw it are "
        f"needed in splits of one fold, and 1 in those of another; at most {forgot} forgot an image and {never} never "
        "saw one; give more splits (16 with 4 forget sets each are the least that can be read)"
    )
