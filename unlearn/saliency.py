"""Saliency masks: which weights a method may change, found once at the weights that it starts from.

A mask is stored as a plain ``dict`` from parameter name to a boolean tensor, True where the weight
may change. Batch-norm statistics are no parameters and always follow the data.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dataset.images import Images
from pruner import Mask, Scores
from pruner.masks import on_cpu, remove
from trainer import checkpoints
from trainer.network import Network
from unlearn import curvature
from unlearn.context import Context
from utils import files
from utils.errors import UsageError

DENSITIES = tuple(number / 10 for number in range(1, 11))
RATIOS = (*DENSITIES, 3.0, 5.0, 10.0)
SMALLEST = 1e-15  # added to both Fisher informations, so that a weight without any has ratio 1
AT_ONCE = 32  # images whose gradients are held side by side


def gradient(model: nn.Module, forget: Images, size: int, no_aug: bool, context: Context) -> Scores:
    """Magnitude of the forget loss's gradient, by parameter name; 0 for pruned weights.

    The gradient is that of the whole set. With ``--compat reference`` it is the sum of the gradients
    of the means of batches, augmented unless ``no_aug``, where a short last batch counts like the others; a task may
    limit its length (``Task.longest``).

    Args:
        size: images per batch.
    Source: Fan et al. 2024 (SalUn), section 4.
    """
    model.eval()
    batches = context.in_order(forget, size, no_aug)
    if context.compat == "fixed":
        total = curvature.summed_gradient(model, batches, context.mask, context.scored)
    else:
        losses = (context.scored(model, *batch).mean() for batch in batches)
        total = curvature.masked(curvature.gradients(model, losses, longest=context.task.longest), context.mask)
    return {name: value.abs() for name, value in total.items()}


def fisher_ratio(model: nn.Module, forget: Images, retain: Images, size: int, no_aug: bool, context: Context) -> Scores:
    """Diagonal Fisher information on the forget over that on the retain set, by parameter name; 0 for pruned weights.

    Fisher information is the mean over images of the squared gradient of the loss with the true target.
    With ``--compat reference`` it is the mean over batches of the squared gradient of the batch's mean,
    on images augmented unless ``no_aug``.

    Source: Huang et al. 2024 (SFR-on).
    """

    above, below = (fisher(model, images, size, no_aug, context) for images in (forget, retain))
    return curvature.masked(ratio(above, below), context.mask)


def fisher(model: nn.Module, images: Images, size: int, no_aug: bool, context: Context) -> Scores:
    """Diagonal Fisher information by parameter name; see ``fisher_ratio``."""
    model.eval()
    if context.compat == "fixed":
        return curvature.mean_squared_gradient(model, images.batches(AT_ONCE), {}, context.scored)
    losses = (context.scored(model, *batch).mean() for batch in context.in_order(images, size, no_aug))
    total = curvature.gradients(model, losses, change=Tensor.square, longest=context.task.longest)
    return {name: value / len(images.sizes(size)) for name, value in total.items()}


def ratio(above: Scores, below: Scores) -> Scores:
    """Fisher information over Fisher information; 1 where there is none of either."""
    return {name: (above[name] + SMALLEST) / (below[name] + SMALLEST) for name in above}


def largest(scores: Scores, density: float, mask: Mask) -> Mask:
    """The highest-scoring fraction ``density`` of the weights that ``mask`` leaves, over all parameters together.

    Returns:
        Exactly ``floor(density * weights)`` True entries; a higher density only adds to them.
    """
    kept = {
        name: mask[name].cpu() if name in mask else torch.ones(value.shape, dtype=torch.bool)
        for name, value in scores.items()
    }
    weights = sum(int(part.sum()) for part in kept.values())
    return on_cpu(remove(scores, weights - math.floor(density * weights), kept))


def at_least(scores: Scores, threshold: float, mask: Mask) -> Mask:
    """The weights that score ``threshold`` or more and that ``mask`` does not prune."""
    found = {name: (value >= threshold).cpu() for name, value in scores.items()}
    return {name: value & mask[name].cpu() if name in mask else value for name, value in found.items()}


def share(update_mask: Mask, mask: Mask) -> str:
    """In words: how many of the weights that ``mask`` does not prune may change."""
    free = sum(int(part.sum()) for part in update_mask.values())
    weights = sum(int(mask[name].sum()) if name in mask else part.numel() for name, part in update_mask.items())
    return f"{100 * free / max(weights, 1):.2f} % of {weights:,} weights may change"


def read(path: Path, model: nn.Module, allow_pickle: bool = False) -> Mask:
    """A stored mask of this model; numbers other than 0 are True, as in the reference's files.

    Raises:
        UsageError: no such file, or not a mask of every parameter of ``model``.
    """
    where = f"--saliency_mask {path}"
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    stored = checkpoints.read_tensors(path, "--saliency_mask", allow_pickle, model, shapes)
    found = {name: value.shape for name, value in stored.items()}
    wrong = [name for name in (*shapes, *found) if shapes.get(name) != found.get(name)]
    if wrong:
        raise UsageError(
            f"{where}: is no saliency mask of this model ({len(wrong)} parameters differ; first: {wrong[0]})"
        )
    return {name: stored[name] != 0 for name in shapes}


def from_flag(hyper: Any, network: Network) -> tuple[Mask | None, str | None]:
    """What ``--saliency_mask`` names, and the SHA-256 of that file; None where it is not given.

    Args:
        hyper: the method's configuration.
    Raises:
        UsageError: as ``read``, or ``--no_saliency`` beside it.
    """
    stored = getattr(hyper, "saliency_mask", None)
    if stored is None:
        return None, None
    if getattr(hyper, "no_saliency", False):
        raise UsageError(
            "--saliency_mask and --no_saliency: one names the weights that may change, "
            "the other lets all of them; give one"
        )
    return read(Path(stored), network.fresh, network.allow_pickle), files.sha256(Path(stored))


def write(path: Path, update_mask: Mask) -> None:
    """Store a mask."""
    files.write_bytes(path, files.torch_bytes({name: value.contiguous() for name, value in update_mask.items()}))
