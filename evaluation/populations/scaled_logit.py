"""The signal of the population attacks: how far the true class is ahead of all others together."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from utils.errors import UsageError


def scaled_logit(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The margin log p_y - log(1 - p_y) of every image, which is f_y - logsumexp of the other classes' logits.

    No probability is computed, so the margin does not saturate, however sure the model is.

    Args:
        logits: float [N, K] with at least two classes.
        labels: true classes, int [N].
    Returns:
        float64 [N].
    Raises:
        UsageError: the shapes do not fit, a label is no class, or a logit is NaN or infinite.
    Source: Carlini et al. 2022 (LiRA), section V.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or logits.shape[1] < 2 or labels.shape != logits.shape[:1]:
        raise UsageError(f"margins need logits [N, K >= 2] and labels [N], not {logits.shape} and {labels.shape}")
    if labels.size and not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise UsageError(f"margins: a label is none of the {logits.shape[1]} classes; give logits of all classes")
    if not np.isfinite(logits).all():
        raise UsageError("margins: a logit is NaN or infinite; leave out models that diverged")
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return logits[rows, labels] - logsumexp(others, axis=1)
