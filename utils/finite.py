"""Whether numbers are numbers still: one question to the device for any number of tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from utils.errors import DivergedError


def check(named: Iterable[tuple[str, Tensor]], what: str) -> None:
    """Refuse tensors that hold NaN or infinite values.

    Args:
        named: tensors of any shape and type by name; whole numbers are always right.
        what: ends the error: when this happened, and what may help.
    Raises:
        DivergedError: names the first such tensor.
    """
    floating = [(name, tensor) for name, tensor in named if tensor.is_floating_point() and tensor.numel()]
    if not floating:
        return
    # NaN if there is one; a fifth of isfinite's time
    extremes = [torch.stack(torch.aminmax(tensor)) for _, tensor in floating]
    sound = torch.stack([pair.isfinite().all().to(extremes[0].device) for pair in extremes])
    if not bool(sound.all()):
        first = floating[int((~sound).nonzero()[0])][0]
        raise DivergedError(f"{first} became NaN or infinite {what}")


def state(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Weights and running statistics by name; no masks, which may hold -inf."""
    return [
        *model.named_parameters(),
        *((name, buffer) for name, buffer in model.named_buffers() if not name.endswith("mask")),
    ]
