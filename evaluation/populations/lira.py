"""LiRA: judge whether a model was trained on an image, by shadow models that were and that were not."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from evaluation.populations.normal import log_density, moments
from utils.errors import UsageError

VARIANTS = ("online", "offline")


def lira(
    shadow_z: np.ndarray, shadow_in: np.ndarray, target_z: np.ndarray, variant: str, fixed_variance: bool = False
) -> np.ndarray:
    """Likelihood ratio of every image under every target model; larger means member.

    For each image and query, a normal distribution is fitted to the shadow models that were trained on the image (IN),
    and one to those that were not (OUT), by median and standard deviation. ``online`` is the log density under IN minus
    that under OUT. ``offline`` needs OUT only and is -log Pr[N > z] for N of this distribution, so a margin far below
    those of the OUT models speaks against membership. Both are means over the queries.

    Args:
        shadow_z: margins of the shadow models, float [M, N, A] with A queries per image, such as flips.
        shadow_in: which model was trained on which image, bool [M, N].
        target_z: margins of the target models, float [T, N, A]; no target may be a shadow model.
        fixed_variance: one variance per side for all images, the mean squared deviation from each image's own
            mean; for fewer than 64 models per side.
    Returns:
        float64 [T, N], finite.
    Raises:
        UsageError: shapes or values cannot be used, or an image has too few shadow models.
    Source: Carlini et al. 2022, algorithm 1; medians as in the released code.
    """
    shadow_z, shadow_in, target_z = _checked(shadow_z, shadow_in, target_z, variant)
    least = 1 if fixed_variance else 2
    outside = _side(shadow_z, ~shadow_in, "not trained on it", least)
    centre, spread = _fit(outside, fixed_variance)
    if variant == "offline":
        return -log_ndtr((centre - target_z) / spread).mean(-1)
    out = log_density(target_z, centre, spread)
    inside = _side(shadow_z, shadow_in, "trained on it", least)
    return (log_density(target_z, *_fit(inside, fixed_variance)) - out).mean(-1)


def lira_as_coded(
    shadow_z: np.ndarray, shadow_in: np.ndarray, target_z: np.ndarray, variant: str, fixed_variance: bool = False
) -> np.ndarray:
    """What LiRA's released code computes, with the sign changed so that larger means member.

    It differs from ``lira`` in four points. Both sides are cut to the smallest number of models that any image has,
    in the models' order. A fixed variance is that around the grand mean of the IN models, used for both sides (of the
    OUT models, if offline). The offline score is a two-sided density. The variance has no floor, so scores can be
    infinite or NaN where models agree.

    Args:
        shadow_z, shadow_in, target_z, variant, fixed_variance: those of ``lira``.
    Returns:
        float64 [T, N].
    Raises:
        UsageError: shapes or values cannot be used, or an image has no shadow model on one side.
    """
    shadow_z, shadow_in, target_z = _checked(shadow_z, shadow_in, target_z, variant)
    most = min(shadow_in.sum(0).min(), (~shadow_in).sum(0).min())
    sides = [
        np.where((side & (side.cumsum(0) <= most))[..., None], shadow_z, np.nan) for side in (shadow_in, ~shadow_in)
    ]
    if most == 0:
        raise UsageError("LiRA as coded: each image needs a shadow model on either side; give more shadow models")
    grand = np.nanstd(sides[variant == "offline"])
    with np.errstate(all="ignore"):
        inside, outside = (
            log_density(
                target_z, np.nanmedian(side, 0), (grand if fixed_variance else np.sqrt(np.nanvar(side, 0))) + 1e-30
            )
            for side in sides
        )
        return (-outside if variant == "offline" else inside - outside).mean(-1)


def _fit(side: np.ndarray, fixed_variance: bool) -> tuple[np.ndarray, np.ndarray | float]:
    fitted = moments(side)
    return np.nanmedian(side, 0), fitted.pooled_spread if fixed_variance else fitted.spread


def _side(shadow_z: np.ndarray, members: np.ndarray, words: str, least: int) -> np.ndarray:
    """The margins of the models on one side, NaN for the others."""
    count = members.sum(0)
    scarce = int(count.argmin())
    if count[scarce] < least:
        raise UsageError(
            f"LiRA: image {scarce} needs {least} shadow models that were {words}, and there are {count[scarce]}; "
            "train more shadow models, each on a random half of the images"
        )
    return np.where(members[..., None], shadow_z, np.nan)


def _checked(
    shadow_z: np.ndarray, shadow_in: np.ndarray, target_z: np.ndarray, variant: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if variant not in VARIANTS:
        raise UsageError(f"LiRA: {variant!r} is no variant; choose from {', '.join(VARIANTS)}")
    shadow_z, target_z = np.asarray(shadow_z, np.float64), np.asarray(target_z, np.float64)
    shadow_in = np.asarray(shadow_in, bool)
    if shadow_z.ndim != 3 or shadow_in.shape != shadow_z.shape[:2] or target_z.shape[1:] != shadow_z.shape[1:]:
        raise UsageError(
            "LiRA: margins must be [models, images, queries] of the same images for shadow and target models, "
            f"not {shadow_z.shape}, {shadow_in.shape} and {target_z.shape}"
        )
    if 0 in shadow_z.shape or 0 in target_z.shape:
        raise UsageError("LiRA: needs at least one image, 2 shadow models on either side of it and one target model")
    if not (np.isfinite(shadow_z).all() and np.isfinite(target_z).all()):
        raise UsageError("LiRA: a margin is NaN or infinite; leave out models that diverged")
    return shadow_z, shadow_in, target_z
