"""Figures of drawn pictures in the space of a judge's features; all are computed in float64 on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 1000  # pictures whose distances to all others are held side by side
NEIGHBOURS = 3  # a real picture's ball reaches to its third nearest other real picture


def frechet(first: Tensor, second: Tensor) -> float:
    """Frechet distance between normal distributions fitted to two sets of features, [N, D] and [M, D].

    ``|m1 - m2| ** 2 + trace(S1 + S2 - 2 (S1 S2) ** 0.5)`` with unbiased covariances.

    Source: Heusel et al. 2017, eq. 6.
    """
    arrays = [features.double().numpy() for features in (first, second)]
    means, spreads = [array.mean(0) for array in arrays], [np.cov(array, rowvar=False) for array in arrays]
    # the trace of a root is the sum of the roots of the eigenvalues, which are no less than 0 but for rounding
    roots = np.sqrt(np.linalg.eigvals(spreads[0] @ spreads[1]).real.clip(min=0))
    spread = np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * roots.sum()
    return max(0.0, float(np.square(means[0] - means[1]).sum() + spread))


def inside(pictures: Tensor, balls: Tensor) -> float:
    """The share of features [N, D] that lie in a ball around at least one of the others, [M, D].

    A ball reaches to the third nearest other centre. With drawn pictures in real balls it is precision, with real ones
    in drawn balls recall.

    Source: Kynkaanniemi et al. 2019, section 3.
    """
    centres, reaches = balls.double(), []
    for positions in torch.arange(len(centres)).split(AT_ONCE):
        between = torch.cdist(centres[positions], centres)
        between[torch.arange(len(positions)), positions] = float("inf")
        reaches.append(between.kthvalue(min(NEIGHBOURS, len(centres) - 1), dim=1).values)
    reach = torch.cat(reaches)
    covered = [(torch.cdist(part, centres) <= reach).any(1) for part in pictures.double().split(AT_ONCE)]
    return float(torch.cat(covered).double().mean())


def diversity(features: Tensor, labels: Tensor) -> float:
    """Mean distance between two pictures of the same class, averaged over classes; features [N, D], labels [N]."""
    means = []
    for label in labels.unique():
        distances = torch.pdist(features[labels == label].double())
        if len(distances):
            means.append(distances.mean())
    return float(torch.stack(means).mean()) if means else 0.0


def answers(probs: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """The shares of pictures that a judge takes for what they were asked as, and rejects; its mean entropy in nats.

    Args:
        probs: [N, classes + 1], the last for "none of them".
        labels: int64 [N], what was asked for.
    """
    predicted, entropy = probs.argmax(1), torch.special.entr(probs.double()).sum(1).mean()
    asked, rejected = (predicted == labels).double().mean(), (predicted == probs.shape[1] - 1).double().mean()
    return float(asked), float(rejected), float(entropy)
