"""Scores of drawn pictures from a judge's features and probabilities, computed in float64 on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 1000  # pictures whose distances to all others are in memory at once
NEIGHBOURS = 3  # a picture's ball reaches to its third nearest neighbour in its own set


def frechet(first: Tensor, second: Tensor) -> float:
    """Frechet distance between normal distributions fitted to two sets of features, [N, D] and [M, D].

    It is ``|m1 - m2| ** 2 + trace(S1 + S2 - 2 (S1 S2) ** 0.5)`` with unbiased covariances, which need N and M of at
    least 2.

    Source: Heusel et al. 2017, eq. 6.
    """
    arrays = [features.double().numpy() for features in (first, second)]
    means, spreads = [array.mean(0) for array in arrays], [np.cov(array, rowvar=False) for array in arrays]
    # The trace of a matrix root is the sum of the roots of the eigenvalues. Only rounding makes these negative.
    roots = np.sqrt(np.linalg.eigvals(spreads[0] @ spreads[1]).real.clip(min=0))
    spread = np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * roots.sum()
    return max(0.0, float(np.square(means[0] - means[1]).sum() + spread))


def inside(pictures: Tensor, balls: Tensor) -> float:
    """The share of pictures, in [0, 1], that lie in a ball around at least one of the centres.

    The ball of a centre reaches to its third nearest other centre. With drawn pictures and real centres this is the
    precision, with real pictures and drawn centres the recall.

    Args:
        pictures: features [N, D].
        balls: features of the centres [M, D], M at least 2.

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
    """Mean Euclidean distance between pictures of the same class, averaged over classes; 0 without such a pair.

    Args:
        features: [N, D].
        labels: the classes, int64 [N].
    """
    means = []
    for label in labels.unique():
        distances = torch.pdist(features[labels == label].double())
        if len(distances):
            means.append(distances.mean())
    return float(torch.stack(means).mean()) if means else 0.0


def answers(probs: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """Summarise a judge's answers to N pictures.

    Args:
        probs: the judge's probabilities [N, classes + 1], the last for "none of them".
        labels: the classes that were asked for, int64 [N].
    Returns:
        The share of pictures taken for their class, the share rejected, both in [0, 1], and the mean entropy in nats.
    """
    predicted, entropy = probs.argmax(1), torch.special.entr(probs.double()).sum(1).mean()
    asked, rejected = (predicted == labels).double().mean(), (predicted == probs.shape[1] - 1).double().mean()
    return float(asked), float(rejected), float(entropy)
