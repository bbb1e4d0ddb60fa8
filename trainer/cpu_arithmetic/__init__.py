"""What training computes otherwise than torch's layers do; the only place that replaces a module's ``forward``.

On the CPU, wide 3 x 3 convolutions take a faster way where there is one (``convolutions``), and batch norm adds up to
full precision (``batch_norm``); ``--no_fast_cpu`` leaves both to torch. On every device batch norm counts the
images of all processes, and takes its running statistics where it sees one number per channel, where torch raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from trainer.cpu_arithmetic import batch_norm, convolutions, winograd
from utils.device import fast_cpu


@contextmanager
def cpu_arithmetic(model: nn.Module, batch: int = 0, tiles: int = winograd.TILES) -> Iterator[None]:
    """Replace the ``forward`` of the model's layers inside; modules, hooks and everything else stay.

    A module that has a ``forward`` of its own keeps it. A copy of a module that is made inside keeps the replacement.

    Args:
        batch: images in all processes' parts; where there are fewer than processes, each process holds all of them.
        tiles: from how many on, in all images of a batch, Winograd's way is taken to be faster.
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
