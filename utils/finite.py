"""Whether numbers are numbers still: one question to each device for any number of tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from utils.errors import DivergedError


def check(tensors: Iterable[tuple[str, Tensor]], context: str) -> None:
    """Refuse tensors that hold NaN or infinite values.

    Args:
        tensors: tensors of any shape and type by name; whole numbers are always right.
        context: ends the error: when this happened, and what may help.
    Raises:
        DivergedError: names the first such tensor.
    """
    floating = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for pair in floating:
        by_device.setdefault(pair[1].device, []).append(pair)  # Adam counts its steps on the CPU, whatever the device
    for device, pairs in by_device.items():
        sound = _extremes([tensor for _, tensor in pairs], device).isfinite().all(1)
        if not bool(sound.all()):
            first = pairs[int((~sound).nonzero()[0])][0]
            raise DivergedError(f"{first} became NaN or infinite {context}")


def _extremes(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Per tensor the numbers farthest from 0, [N, 1 or 2]; NaN if it holds one."""
    if device.type == "cpu":  # a fifth of the time that isfinite takes
        return torch.stack([torch.stack(torch.aminmax(tensor)) for tensor in tensors])
    return torch.stack(torch._foreach_norm(tensors, math.inf))[:, None]  # one launch for all


def state(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Weights and running statistics by name; no masks, which may hold -inf."""
    return [
        *model.named_parameters(),
        *((name, buffer) for name, buffer in model.named_buffers() if not name.endswith("mask")),
    ]
