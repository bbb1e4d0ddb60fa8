"""What passes a pruned network: the layers that lost every weight, and whether an image still reaches the output."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dataset.images import Images
from pruner.masks import Mask, empty_layers
from utils.log import Log

WEIGHTED = (nn.Conv2d, nn.Linear, _BatchNorm)
NOTHING = 1e-9  # the least that leaves a layer otherwise is the share of one pixel in a mean over all, halved by a gate


def warn(model: nn.Module, mask: Mask, images: Images, log: Log) -> None:
    """Say in one line which layers have no weight left, and what still passes the network; nothing where all is well.

    Args:
        model: with the mask's parameters; its own weights do not matter.
        images: of which one is read, for its shape.
    """
    if mask:
        shape = next(iter(images.at(images.indices[:1]).batches(1)))[0].shape[1:]
        text = warning(mask, reaches_output(model, mask, shape))
        if text is not None:
            log.line(text)


def warning(mask: Mask, reached: bool | None) -> str | None:
    """The line, or None.

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
    """Whether a path of kept weights leads from the image to an output; None where that is not told.

    Every weight becomes 1 or, if pruned, 0, biases 0, batch norm the identity, and what leaves a layer 1 or 0. Nothing
    then cancels, overflows or vanishes, so that the output is above 0 exactly where a path leads to it.

    Args:
        model: left as it is. Told for models whose parameters belong to convolutions, linear layers and batch norm.
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
