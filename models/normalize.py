"""Input normalisation as the model's own first step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.parts import with_methods


class Normalize(nn.Module):
    """Maps images in [0, 1] to (image - mean) / std, channel by channel.

    Shape: float [N, 3, H, W] in and out. ``mean`` and ``std`` are float32 buffers of shape [3].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Iterable[float] = (0.0, 0.0, 0.0), std: Iterable[float] = (1.0, 1.0, 1.0)):
        super().__init__()
        self.register_buffer("mean", torch.tensor(tuple(mean)))
        self.register_buffer("std", torch.tensor(tuple(std)))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)


@contextmanager
def normalised_input(model: nn.Module) -> Iterator[Normalize]:
    """Context in which ``model`` expects normalised images; yields the module that normalises them.

    For a model that has no ``Normalize``, the module returns images unchanged.
    """
    own = next((module for module in model.modules() if isinstance(module, Normalize)), None)
    if own is None:
        yield Normalize().to(next(model.parameters()).device)
        return
    before = copy.deepcopy(own)
    own.mean.zero_()
    own.std.fill_(1)
    try:
        yield before
    finally:
        own.mean.copy_(before.mean)
        own.std.copy_(before.std)


def normalize_first(model: nn.Module) -> nn.Module:
    """Give another package's model a sub-module ``normalize``, applied before everything else; in place, and returned.

    A wrapper would prefix the keys of the state dict, and tracing would not see a forward hook.
    """
    parent = type(model)

    def forward(self: Any, images: Tensor) -> Tensor:
        return parent.forward(self, self.normalize(images))

    with_methods(model, forward=forward)
    model.normalize = Normalize()
    return model
