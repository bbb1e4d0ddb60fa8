"""Linear CKA: how alike two layers' features of the same images are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cka(x: Tensor, y: Tensor, batch: int) -> float:
    """Linear centred kernel alignment by minibatches, in [0, 1] but for noise; 1 for features rotated into each other.

    The unbiased HSIC of every batch is added up before the ratio. Rows that are left over after the last whole batch
    count as a batch of their own if there are more than 3.

    Args:
        x, y: features, float [N, d1] and [N, d2], of the same images in the same order.
        batch: images per batch, at least 4.
    Source: Nguyen et al. 2021 (Do wide and deep networks learn the same things?), equations 3 and 4.
    """
    parts = [(gram(a), gram(b)) for a, b in zip(x.double().split(batch), y.double().split(batch)) if len(a) > 3]
    return alignment([a for a, _ in parts], [b for _, b in parts])


def alignment(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """``cka`` from the Gram matrices of every batch; NaN if a layer gives the same features for all images.

    Args:
        first, second: Gram matrices of the two layers with zeros on the diagonal, one [N, N] with N above 3 per batch.
    """
    both, one, other = (
        torch.stack([hsic(k, j) for k, j in zip(*pair)]).sum()
        for pair in ((first, second), (first, first), (second, second))
    )
    return float(both / (one * other).sqrt())


def gram(features: Tensor) -> Tensor:
    """Inner products of all pairs of rows, [N, N], with zeros on the diagonal."""
    return (features @ features.T).fill_diagonal_(0)


def hsic(k: Tensor, j: Tensor) -> Tensor:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion.

    Args:
        k, j: Gram matrices with zeros on the diagonal, [N, N] with N above 3.
    Source: Song et al. 2012 (Feature selection via dependence maximization), equation 5.
    """
    n = len(k)
    product = (k * j.T).sum() + k.sum() * j.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(0) @ j.sum(1)) / (n - 2)
    return product / (n * (n - 3))
