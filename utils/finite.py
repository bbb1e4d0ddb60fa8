"""Checks that tensors hold neither NaN nor infinite values, with one wait per device for any number of tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from utils.errors import DivergedError


def check(tensors: Iterable[tuple[str, Tensor]], context: str) -> None:
    """Refuse tensors that hold NaN or infinite values.

    Args:
        tensors: names and tensors of any shape and dtype; those of integers are not looked at.
        context: the end of the error message: when this happened, and what may help.
    Raises:
        DivergedError: names the first such tensor.
    """
    floating = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for pair in floating:
        by_device.setdefault(pair[1].device, []).append(pair)  # Adam's step counters are on the CPU, not on the GPU
    for device, pairs in by_device.items():
        sound = _extremes([tensor for _, tensor in pairs], device).isfinite().all(1)
        if not bool(sound.all()):
            first = pairs[int((~sound).nonzero()[0])][0]
            raise DivergedError(f"{first} became NaN or infinite {context}")


def _extremes(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Extreme values of each tensor, [N, 1] (largest magnitude) or [N, 2] (least, largest); NaN if it holds NaN."""
    if device.type == "cpu":  # takes a fifth of the time of isfinite
        return torch.stack([torch.stack(torch.aminmax(tensor)) for tensor in tensors])
    return torch.stack(torch._foreach_norm(tensors, math.inf))[:, None]  # one launch for all


def state(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Parameters and buffers of a model with their names, without attention masks, which may hold -inf."""
    return [
        *model.named_parameters(),
        *((name, buffer) for name, buffer in model.named_buffers() if not name.endswith("mask")),
    ]
