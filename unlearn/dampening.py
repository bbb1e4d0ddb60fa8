"""Selective synaptic dampening: make weights smaller that matter more for the forget set than for all images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dataset.images import Images
from unlearn import importances
from unlearn.context import Context, Sets
from unlearn.curvature import Tensors, gradients, mean_of_gradients
from utils.errors import UsageError

AT_ONCE = 32  # images whose gradients are computed at once
FEW, MANY = 1e-4, 0.2  # the log remarks on a share of selected weights below or above these

Losses = Callable[[nn.Module, Tensor, Tensor], Tensor]  # maps model, inputs and targets to every sample's loss [B]
Change = Callable[[Tensor], Tensor]  # maps gradients to non-negative numbers of the same shape


def squared_norm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Squared length of every image's logits, float [B]; the labels are not used."""
    return model(images).square().sum(1)


def measure(kind: str, context: Context) -> tuple[Losses, Change]:
    """The losses, and the function of their gradients, whose mean is the importance of a weight.

    These are the task's losses and the square for ``kind`` "SSD", the squared length of the logits and the absolute
    value for "LFSSD".
    """
    return (context.losses, Tensor.square) if kind == "SSD" else (squared_norm, Tensor.abs)


def of_images(model: nn.Module, images: Images, losses: Losses, change: Change) -> Tensors:
    """Mean over images of ``change`` of each image's own gradient, by parameter name; with squares, Fisher information.

    Neither the order of the images nor a batch size matters.

    Source: Foster et al. 2024 (SSD), the diagonal of the empirical Fisher information.
    """
    return mean_of_gradients(model, images.batches(AT_ONCE), change, {}, losses)


def of_batches(model: nn.Module, sets: Iterable[Images], size: int, losses: Losses, change: Change) -> Tensors:
    """Mean over batches of ``change`` of the gradient of the batch's mean loss, by parameter name.

    The sets follow one another without a break, so a batch may hold images of two of them.

    Source: the released code of Foster et al. 2024, in a fixed order.
    """
    batches = list(_joined([images.batches(size) for images in sets], size))
    total = gradients(model, (losses(model, *batch).mean() for batch in batches), change=change)
    return {name: value / len(batches) for name, value in total.items()}


def _joined(parts: list[Iterator[tuple[Tensor, Tensor]]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Regroup batches into batches of ``size`` images; the last may be smaller."""
    batches = chain.from_iterable(parts)
    images, labels = next(batches)
    for more, targets in batches:
        images, labels = torch.cat([images, more]), torch.cat([labels, targets])
        if len(labels) >= size:
            yield images[:size], labels[:size]
            images, labels = images[size:], labels[size:]
    if len(labels):
        yield images, labels


def of_both(model: nn.Module, forget: Images, retain: Images, kind: str, context: Context) -> tuple[Tensors, Tensors]:
    """Importances by parameter name, over the forget set and over both sets together, from one pass over each.

    Args:
        kind: "SSD" or "LFSSD", see ``measure``.
    """
    losses, change = measure(kind, context)
    share = len(forget) / (len(forget) + len(retain))
    first, second = (of_images(model, images, losses, change) for images in (forget, retain))
    return first, {name: share * value + (1 - share) * second[name] for name, value in first.items()}


def dampen(model: nn.Module, forget: Tensors, everything: Tensors, alpha: float, dampening: float) -> int:
    """Multiply weights whose importance on the forget set exceeds ``alpha`` times that on all images.

    The factor is min(1, dampening * everything / forget). The model is changed in place.

    Args:
        forget, everything: importances by parameter name, in the parameters' shapes, at least 0.
    Returns:
        Number of weights that were selected.
    Source: Foster et al. 2024 (SSD), equations 4 and 5.
    """
    selected = 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            chosen = forget[name] > alpha * everything[name]
            factor = (dampening * everything[name] / forget[name]).clamp(max=1)
            parameter.mul_(torch.where(chosen, factor, torch.ones_like(factor)))
            selected += int(chosen.sum())
    return selected


def adaptive_alpha(forget: Tensors, everything: Tensors, share: float) -> float:
    """ASSD's threshold: the percentile 100 - ln(1 + 100 share) of forget / everything over all weights.

    Ratios that are not finite are left out. The percentile interpolates linearly.

    Args:
        share: number of images to forget as a fraction of all images.
    Raises:
        UsageError: no ratio is finite.
    Source: Schoepf et al. 2024 (Adaptive SSD).
    """
    ratios = torch.cat([(forget[name] / everything[name]).flatten() for name in forget])
    ratios = ratios[ratios.isfinite()]
    if not len(ratios):
        raise UsageError("ASSD: no weight matters for the images; the model's gradients are all zero")
    place = (1 - math.log1p(100 * share) / 100) * (len(ratios) - 1)
    below = int(place)
    low = float(ratios.kthvalue(below + 1).values)
    high = float(ratios.kthvalue(min(below + 2, len(ratios))).values)
    return low + (place - below) * (high - low)


def run(name: str, model: nn.Module, sets: Sets, config: Any, context: Context) -> None:
    """Compute both importances, choose the threshold unless ``config`` has an alpha, and dampen.

    Args:
        name: name of the method, for the log.
        config: hyper-parameters of SSD, LFSSD or ASSD.
    Raises:
        UsageError: alpha is so large that nothing can be selected, all importances are 0, or the file of importances
            does not fit.
    """
    model.eval()
    count = len(sets.forget) + len(sets.retain)
    share, alpha = len(sets.forget) / count, getattr(config, "alpha", None)
    by_images = (config.importance or ("images" if context.compat == "fixed" else "batches")) == "images"
    if by_images and alpha is not None and alpha * share >= 1:
        raise UsageError(
            f"--alpha {alpha:g}: {name} selects nothing, because no weight can matter more than {1 / share:.4g} times "
            f"as much for {len(sets.forget):,} images as for all {count:,}; give a smaller one"
        )
    losses, change = measure(config.kind, context)
    if by_images and config.importances is None:
        forget, everything = of_both(model, sets.forget, sets.retain, config.kind, context)
    elif by_images:
        forget = of_images(model, sets.forget, losses, change)
        stored = importances.read(Path(config.importances), config.kind, model, count)
        everything = {key: value.to(forget[key].device) for key, value in stored.items()}
    else:
        forget = of_batches(model, [sets.forget], config.batch_size, losses, change)
        everything = of_batches(model, [sets.retain, sets.forget], config.batch_size, losses, change)
    if alpha is None:
        alpha = adaptive_alpha(forget, everything, share)
    _tell(context, name, dampen(model, forget, everything, alpha, config.dampening), model, alpha)


def _tell(context: Context, method: str, selected: int, model: nn.Module, alpha: float) -> None:
    """Log the share of weights that were selected, and whether that is suspiciously few or many."""
    total = sum(parameter.numel() for parameter in model.parameters())
    share = selected / total
    words = f"{method}: {100 * share:.3g} % of {total:,} weights selected at alpha {alpha:.4g}"
    if not selected:
        words += "; the model is unchanged, try a smaller --alpha"
    elif share < FEW:
        words += "; that is very little, a smaller --alpha selects more"
    elif share > MANY:
        words += "; that is a large part of the model, a larger --alpha selects less"
    context.log.line(words)
