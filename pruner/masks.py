"""Masks as plain data: choose which weights to keep, and measure the choice."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

Mask = dict[str, Tensor]
Scores = dict[str, Tensor]


def choose(scores: Scores, rate: float, mask: Mask | None = None) -> Mask:
    """Prune the lowest-scoring fraction of the weights that are still kept, globally.

    Args:
        scores: one float tensor per prunable parameter.
        rate: fraction of the remaining weights to prune, in [0, 1).
        mask: what is kept so far; everything if None. The result only shrinks it.
    Returns:
        A new mask from which exactly ``round(rate * kept)`` further weights are gone (Python's
        rounding). Among equal scores those that come first in module order are pruned.
    """
    return on_cpu(remove(scores, round(rate * kept(scores, mask)), mask))


def on_cpu(mask: Mask) -> Mask:
    """The mask with its tensors on the CPU, where masks are stored."""
    return {name: keep.cpu() for name, keep in mask.items()}


def kept(scores: Scores, mask: Mask | None) -> int:
    """How many of the scored weights ``mask`` keeps; all without a mask."""
    return sum(int(torch.count_nonzero(mask[name])) if mask else value.numel() for name, value in scores.items())


def remove(scores: Scores, count: int, mask: Mask | None = None) -> Mask:
    """A new mask, on the scores' device, without the ``count`` lowest-scoring of the kept weights; see ``choose``."""
    if any(value.device.type != "cpu" for value in scores.values()):
        return remove_by_sorting(scores, count, mask)
    flat = torch.cat([value.detach().flatten().cpu() for value in scores.values()]).numpy()
    left = (
        torch.cat([mask[name].flatten().cpu() for name in scores]).numpy() if mask else np.ones(len(flat), dtype=bool)
    )
    if count > 0:
        candidates = flat[left]  # numpy selects and partitions several times as fast as torch
        threshold = np.partition(candidates, count - 1)[count - 1]
        ties = np.flatnonzero((flat == threshold) & left)
        left &= ~(flat < threshold)
        left[ties[: count - np.count_nonzero(candidates < threshold)]] = False
    return _divided(torch.from_numpy(left), scores)


def remove_by_sorting(scores: Scores, count: int, mask: Mask | None = None) -> Mask:
    """``remove`` by sorting, so that the CPU never waits for an answer of the GPU.

    A GPU sorts ten million numbers in milliseconds. ``torch.kthvalue`` there uses a single one of its processors, and
    is refused under ``--deterministic``.
    """
    flat = torch.cat([value.detach().flatten() for value in scores.values()])
    left = torch.ones_like(flat, dtype=torch.bool)
    if mask:
        left = torch.cat([mask[name].flatten().to(flat.device) for name in scores])
    order = flat.argsort(stable=True)
    order = order[left[order].logical_not().to(torch.uint8).argsort(stable=True)]  # kept ones first, by their scores
    return _divided(left.index_fill(0, order[:count], False), scores)


def _divided(flat: Tensor, scores: Scores) -> Mask:
    sizes = [value.numel() for value in scores.values()]
    return {name: part.view(scores[name].shape) for name, part in zip(scores, flat.split(sizes))}


def density(mask: Mask) -> float:
    """Fraction of the prunable weights that are kept, in [0, 1]; 1 for an empty mask."""
    total = sum(m.numel() for m in mask.values())
    return sum(int(torch.count_nonzero(m)) for m in mask.values()) / total if total else 1.0


def sparsity(mask: Mask) -> float:
    """Fraction of the prunable weights that are pruned, in [0, 1]; 0 for an empty mask."""
    return 1.0 - density(mask)


def empty_layers(mask: Mask) -> list[str]:
    """Names of the parameters that lost every weight: nothing passes such a layer."""
    return [name for name, m in mask.items() if not bool(m.any())]
