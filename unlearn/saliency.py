"""Saliency masks: which weights a method may change, found at the weights that it starts from.

A mask is stored as a plain ``dict`` from parameter name to a boolean tensor, True where the weight
may change. Batch-norm statistics are no parameters and always follow the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dataset.images import Images
from pruner import Mask, Scores
from pruner.masks import on_cpu, remove
from trainer import checkpoints
from unlearn import curvature
from unlearn.context import Context
from utils import files
from utils.errors import UsageError

DENSITIES = tuple(number / 10 for number in range(1, 11))
RATIOS = (*DENSITIES, 3.0, 5.0, 10.0)
SMALLEST = 1e-15  # added to both Fisher informations, so that the ratio of 0 and 0 is 1
FISHERS = ("forget_fisher.pt", "remain_fisher.pt")  # the reference's files of Fisher information
AT_ONCE = 32  # images whose gradients are computed at once


def gradient(model: nn.Module, forget: Images, size: int, no_aug: bool, context: Context) -> Scores:
    """Absolute gradient of the loss on the forget set, by parameter name; 0 for pruned weights.

    The gradient is that of the summed losses of the set. With ``--compat reference`` it is the sum of the gradients of
    the batches' mean losses, so a short last batch counts like the others. Images are then augmented unless ``no_aug``,
    and a task may limit the length of each batch's gradient (``Task.longest``).

    Args:
        model: put into eval mode.
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
    on images augmented unless ``no_aug``. Both are written to the folder of ``context``, if it has one.

    Args:
        size: images per batch, with ``--compat reference``.
    Source: Huang et al. 2024 (SFR-on).
    """

    above, below = (fisher(model, images, size, no_aug, context) for images in (forget, retain))
    if context.folder is not None:
        for name, information in zip(FISHERS, (above, below)):
            write(context.folder / name, information)
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
    """Ratio of Fisher information ``above`` to ``below`` by parameter name; 1 where both are 0."""
    return {name: (above[name] + SMALLEST) / (below[name] + SMALLEST) for name in above}


def largest(scores: Scores, density: float, mask: Mask) -> Mask:
    """The highest-scoring fraction ``density`` of the weights that ``mask`` leaves, over all parameters together.

    Returns:
        A mask on the CPU with exactly ``floor(density * weights)`` True entries. A higher density only adds entries.
    """
    kept = {
        name: mask[name].cpu() if name in mask else torch.ones(value.shape, dtype=torch.bool)
        for name, value in scores.items()
    }
    weights = sum(int(part.sum()) for part in kept.values())
    return on_cpu(remove(scores, weights - math.floor(density * weights), kept))


def at_least(scores: Scores, threshold: float, mask: Mask) -> Mask:
    """A mask on the CPU of the weights that score ``threshold`` or more and are not pruned by ``mask``."""
    chosen = {name: (value >= threshold).cpu() for name, value in scores.items()}
    return {name: value & mask[name].cpu() if name in mask else value for name, value in chosen.items()}


def share(update_mask: Mask, mask: Mask) -> str:
    """How many of the weights that ``mask`` does not prune may change, in words."""
    free = sum(int(part.sum()) for part in update_mask.values())
    weights = sum(int(mask[name].sum()) if name in mask else part.numel() for name, part in update_mask.items())
    return f"{100 * free / max(weights, 1):.2f} % of {weights:,} weights may change"


def read(path: Path, model: nn.Module, allow_pickle: bool = False) -> Mask:
    """Read a saliency mask: boolean tensors by parameter name; numbers other than 0 are True.

    Raises:
        UsageError: no such file, or not a mask of every parameter of ``model``.
    """
    stored = _of_every_parameter(path, "--saliency_mask", "saliency mask", model, allow_pickle)
    return {name: value != 0 for name, value in stored.items()}


def read_fishers(folder: Path, model: nn.Module, allow_pickle: bool = False) -> Scores:
    """Read the files ``FISHERS`` of a folder; the ratio of forget to retain Fisher information, by parameter name.

    Raises:
        UsageError: a file is missing, or not of every parameter of ``model``, or holds numbers below 0.
    """
    fishers = []
    for name in FISHERS:
        values = _of_every_parameter(folder / name, "--fisher_dir", "Fisher information", model, allow_pickle)
        below = next((key for key, value in values.items() if bool((value < 0).any())), None)
        if below is not None:
            raise UsageError(f"--fisher_dir {folder / name}: holds numbers below 0 (in {below})")
        fishers.append({key: value.float() for key, value in values.items()})
    return ratio(*fishers)


def _of_every_parameter(path: Path, flag: str, kind: str, model: nn.Module, allow_pickle: bool) -> dict[str, Tensor]:
    """Read tensors by parameter name; UsageError unless there is one in the shape of every parameter."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    stored = checkpoints.read_tensors(path, flag, allow_pickle, model, shapes)
    found_shapes = {name: value.shape for name, value in stored.items()}
    wrong = [name for name in (*shapes, *found_shapes) if shapes.get(name) != found_shapes.get(name)]
    if wrong:
        raise UsageError(
            f"{flag} {path}: is no {kind} of this model ({len(wrong)} parameters differ; first: {wrong[0]})"
        )
    return {name: stored[name] for name in shapes}


def from_flag(hyper: Any, model: nn.Module, allow_pickle: bool = False) -> tuple[Mask | None, str | None]:
    """The mask of ``--saliency_mask`` or ``--fisher_dir``, and the SHA-256 of the files; None without these flags.

    Args:
        hyper: the method's configuration.
        model: the model that the mask must fit.
    Raises:
        UsageError: a file is missing or does not fit the model, or two flags exclude each other.
    """
    flags = ("saliency_mask", "fisher_dir", "no_saliency")
    given = [flag for flag in flags if getattr(hyper, flag, None)]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]}: each says which weights may change; give one")
    if given == ["saliency_mask"]:
        stored = Path(hyper.saliency_mask)
        return read(stored, model, allow_pickle), files.sha256(stored)
    if given == ["fisher_dir"]:
        folder = Path(hyper.fisher_dir)
        fishers = read_fishers(folder, model, allow_pickle)
        return at_least(fishers, hyper.fisher_ratio, {}), " ".join(files.sha256(folder / name) for name in FISHERS)
    return None, None


def once(context: Context, name: str, model: nn.Module, find: Callable[[], Mask]) -> Mask:
    """The mask that ``find`` returns, stored in the folder of ``context``, if it has one, as the file ``name``.

    A run that goes on after a kill reads it from there. The time of ``find`` counts as the cost of the mask.
    """
    path = None if context.folder is None else context.folder / name
    if path is not None and path.exists() and context.mask_seconds is not None:
        return read(path, model)
    with context.masking():
        mask = find()
        if path is not None:
            write(path, mask)
    return mask


def write(path: Path, values: dict[str, Tensor]) -> None:
    """Store a mask, or Fisher information, as a plain ``dict`` by parameter name, as the references do."""
    content = {name: value.detach().cpu().contiguous() for name, value in values.items()}
    files.write_bytes(path, files.torch_bytes(content))
