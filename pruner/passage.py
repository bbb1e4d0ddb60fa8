"""Warn when pruning cut a network: which layers lost every weight, and whether an image still reaches the output."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dataset.images import Images
from pruner.masks import Mask, empty_layers
from utils.log import Log

WEIGHTED = (nn.Conv2d, nn.Linear, _BatchNorm)
# Counts as zero. The smallest output that does not is one pixel's share of a mean over all pixels, halved by a gate.
NOTHING = 1e-9


def warn(model: nn.Module, mask: Mask, images: Images, log: Log) -> None:
    """Log one line if layers have no weight left or no image reaches the output; log nothing if all is well.

    Args:
        model: a network that has the mask's parameters; the values of its weights do not matter.
        mask: boolean tensors by parameter name, True where a weight is kept.
        images: one image is read for its shape.
    """
    if mask:
        shape = next(iter(images.at(images.indices[:1]).batches(1)))[0].shape[1:]
        text = warning(mask, reaches_output(model, mask, shape))
        if text is not None:
            log.line(text)


def warning(mask: Mask, reached: bool | None) -> str | None:
    """The line that ``warn`` logs, or None if all is well.

    Args:
        reached: whether an image reaches the output; None if that is not known.
    """
    empty = [name.removesuffix(".weight").removesuffix("_weight") for name in empty_layers(mask)]
    lost = f"no weight is left in {', '.join(empty)} ({len(empty)} of {len(mask)} layers)"
    if reached is False:
        cut = "no path leads from the image to the output, which is the same for all images"
        return f"warning: {f'{lost}: ' if empty else ''}{cut}; prune less (a smaller --rate)"
    past = "" if reached is None else ", but the signal passes by their shortcuts"
    return f"warning: {lost}: nothing passes them{past}; prune less (a smaller --rate) to keep them" if empty else None


@torch.no_grad()
def reaches_output(model: nn.Module, mask: Mask, shape: tuple[int, ...]) -> bool | None:
    """Whether a path of kept weights leads from the image to an output; None where this method cannot tell.

    In a copy of the model, kept weights become 1, pruned weights and biases 0, and batch norm the identity. The output
    of each layer is rounded to 0 or 1. Nothing then cancels, overflows or vanishes, so an output is above 0 exactly if
    a path leads to it.

    Args:
        model: not changed. If any parameters are not those of convolutions, linear layers or batch norm, the answer is
            None.
        shape: [C, H, W] of an image.
    """
    layers = [module for module in model.modules() if list(module.parameters(recurse=False))]
    if not all(isinstance(layer, WEIGHTED) for layer in layers):
        return None
    binary = copy.deepcopy(model).cpu().double().eval()
    for name, tensor in [*binary.named_parameters(), *binary.named_buffers()]:
        free = float(not name.endswith(("bias", "mean", "num_batches_tracked")))
        tensor.copy_(mask[name] if name in mask else torch.tensor(free))
    for module in binary.modules():
        if isinstance(module, WEIGHTED):
            module.register_forward_hook(lambda layer, inputs, output: (output > NOTHING).double())
    return bool((binary(torch.ones(1, *shape, dtype=torch.float64)) > NOTHING).any())
