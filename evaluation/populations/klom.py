"""KLoM: divergence between the margins of unlearned models and those of models retrained without the images."""

from __future__ import annotations

import numpy as np

from utils.errors import UsageError

VARIANTS = ("default", "easydub", "data_unlearning_bench")
BINS, CLIP, LEAST = 20, 100.0, 1e-5  # bins of a histogram; largest margin; least share of a bin as a divisor


def klom(unlearned: np.ndarray, oracle: np.ndarray, variant: str = "default") -> np.ndarray:
    """Kullback-Leibler divergence of margins of every image, in nats, from 0 to about ln 1e5.

    Margins are clipped to [-100, 100] and counted in 20 equal bins from the smallest to the largest of both groups. The
    result is KL(unlearned || oracle) of the shares, where empty bins of the oracle count as 1e-5.

    The variant ``default`` counts the largest value and renormalises the oracle's shares after this. ``easydub`` does
    neither, like the code of that name. ``data_unlearning_bench`` does not count the largest value, renormalises, and
    is KL(oracle || unlearned), where empty bins of the unlearned models count as 1e-5.

    Args:
        unlearned: margins of the unlearned models, float [n, images].
        oracle: margins of models retrained without the forget set, float [m, images].
    Returns:
        float64 [images].
    Raises:
        UsageError: fewer than two models in a group, other images, a margin that is NaN, or an unknown variant.
    Source: Georgiev et al. 2024, section 3.
    """
    if variant not in VARIANTS:
        raise UsageError(f"KLoM: {variant!r} is no variant; choose from {', '.join(VARIANTS)}")
    groups = [np.asarray(group, np.float64) for group in (unlearned, oracle)]
    if any(group.ndim != 2 or group.shape[1:] != groups[0].shape[1:] for group in groups):
        raise UsageError(f"KLoM: needs margins [models, images] of the same images, not {[g.shape for g in groups]}")
    if min(map(len, groups)) < 2:
        raise UsageError(
            f"KLoM: needs at least 2 unlearned and 2 retrained models, not {len(unlearned)} and {len(oracle)}; "
            "100 of each are usual"
        )
    if any(np.isnan(group).any() for group in groups):
        raise UsageError("KLoM: a margin is NaN; leave out models that diverged")
    groups = [group.clip(-CLIP, CLIP) for group in groups]
    smallest, largest = (edge([edge(group, 0) for group in groups], 0) for edge in (np.min, np.max))
    edges = np.linspace(smallest, np.where(largest > smallest, largest, smallest + 1), BINS + 1)
    p, q = (_shares(group, edges, variant == "default") for group in groups)
    return _divergence(q, p, True) if variant == "data_unlearning_bench" else _divergence(p, q, variant == "default")


def _shares(margins: np.ndarray, edges: np.ndarray, closed: bool) -> np.ndarray:
    """Share of the models in each bin: [bins, images]; the last bin holds its upper edge only if ``closed``."""
    reached = np.stack([(margins >= edge).sum(0) for edge in edges])
    if closed:
        reached[-1] = 0
    counts = reached[:-1] - reached[1:]
    return counts / np.maximum(counts.sum(0), 1)


def _divergence(p: np.ndarray, q: np.ndarray, renormalised: bool) -> np.ndarray:
    """KL(p || q) over the first axis; bins of q are raised to ``LEAST`` where p is not 0."""
    q = np.where(p > 0, np.maximum(q, LEAST), q)
    if renormalised:
        q = q / np.maximum(q.sum(0), LEAST)
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / np.where(p > 0, q, 1)), 0.0).sum(0)
