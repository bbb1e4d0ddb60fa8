"""Worst-case privacy score: how well any threshold tells the unlearned model's outputs from the retrained one's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

DELTA = 1e-5  # of differential privacy
SMALLEST = 1e-10  # what a single error rate of zero counts as
THRESHOLDS = 51


def privacy_score(unlearned: Tensor, retrained: Tensor, exact: bool = True) -> dict[str, float]:
    """1 minus the strongest attack's score, in [0, 1]; 1 where no threshold tells the two models apart.

    An attack compares the entropy (at temperature 2, nats) or the confidence (logit of the largest probability) of an
    image's output with a threshold. With false positive and negative rates a and b its score is 1 - 2 ** -e, where
    e = max(0, min(ln(1 - d - a) - ln b, ln(1 - d - b) - ln a)) and d = 1e-5.

    The strongest of many attacks finds a difference even between two retrained models, so report their score as well.

    Args:
        unlearned, retrained: logits on the forget set, float [N, C].
        exact: try every threshold that makes a difference; else 51 thresholds, with rounding as in the released code.
    Returns:
        ``entropy_attack`` and ``confidence_attack``, the strongest attacks' scores, and ``score``.
    Source: Unlearning Comparator (2025), worst-case privacy score; the bound is Kairouz et al. 2015's.
    """
    attacks = {}
    for name, signal, low, high in (("entropy", entropy, 0.0, 2.5), ("confidence", confidence, -2.5, 10.0)):
        ours, theirs = (signal(logits.double()).numpy() for logits in (unlearned, retrained))
        if exact:
            attacks[f"{name}_attack"] = _strongest(ours, theirs, None)
        else:
            ours, theirs = (np.clip(values.round(2), low, high) for values in (ours, theirs))
            attacks[f"{name}_attack"] = _strongest(ours, theirs, np.linspace(low, high, THRESHOLDS))
    return attacks | {"score": 1 - max(attacks.values())}


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax at temperature 2 in nats, [N], from logits [N, C]."""
    log_probs = (logits / 2).log_softmax(1)
    return -(log_probs.exp() * log_probs).sum(1)


def confidence(logits: Tensor) -> Tensor:
    """ln(p / (1 - p)) of the largest probability p, [N], from logits [N, C]."""
    top, place = logits.max(1)
    others = logits.scatter(1, place[:, None], -torch.inf)
    return top - others.logsumexp(1)


def _strongest(unlearned: np.ndarray, retrained: np.ndarray, thresholds: np.ndarray | None) -> float:
    """The largest score over thresholds and both directions; without thresholds, over all between two values."""
    if thresholds is None:
        values = np.unique(np.concatenate([unlearned, retrained]))
        thresholds = (values[1:] + values[:-1]) / 2
        if not len(thresholds):
            return 0.0
    above = [
        1 - np.searchsorted(np.sort(values), thresholds, side="left") / len(values) for values in (unlearned, retrained)
    ]
    return float(max(_worth(above[1], 1 - above[0]).max(), _worth(1 - above[1], above[0]).max()))


def _worth(false_positive: np.ndarray, false_negative: np.ndarray) -> np.ndarray:
    a, b = (np.where(rate == 0, SMALLEST, rate) for rate in (false_positive, false_negative))
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = np.log(1 - DELTA - a) - np.log(b), np.log(1 - DELTA - b) - np.log(a)
        worth = 1 - 2.0 ** -np.maximum(0, np.minimum(first, second))
    worth = np.where((false_positive >= 1 - DELTA) | (false_negative >= 1 - DELTA), 0.0, worth)
    return np.where((false_positive == 0) & (false_negative == 0), 1.0, worth)
