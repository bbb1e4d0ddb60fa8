"""Layers that training computes differently from torch, by replacing their ``forward`` for a while.

On the CPU, wide 3 x 3 convolutions use faster algorithms where there are any (``convolutions``), and batch norm adds up
to full precision (``batch_norm``); ``--no_fast_cpu`` leaves both to torch. On every device batch norm takes statistics
over the images of all processes. Where it sees one number per channel, it uses its running statistics, while torch
would raise an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from trainer.cpu_arithmetic import batch_norm, convolutions, winograd
from utils.device import fast_cpu


@contextmanager
def cpu_arithmetic(model: nn.Module, batch: int = 0, tiles: int = winograd.TILES) -> Iterator[None]:
    """Context in which layers of a model have another ``forward``; modules, hooks and everything else stay.

    A module whose ``forward`` was replaced before keeps that one. A copy of a module that is made in the context keeps
    the replacement.

    Args:
        batch: number of images of all processes together; with fewer images than processes, each process has all.
        tiles: number of tiles in a batch from which Winograd's algorithm is used.
    """
    counted: list[Tensor] = []
    replaced = batch_norm.forwards(model, counted, batch, fast_cpu())
    if fast_cpu():
        replaced |= convolutions.forwards(model, tiles)
    replaced = {module: forward for module, forward in replaced.items() if "forward" not in vars(module)}
    for module, forward in replaced.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in replaced:
            del module.forward
        batch_norm.count(counted)
