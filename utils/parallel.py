"""Several processes that work on one run: ``torchrun`` starts them, and each takes its part of every batch.

Without ``torchrun`` there is one process, and everything here does nothing. Only the main process writes files and
prints lines; the others wait until files are written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes files and prints lines."""
    return rank() == 0


def start(on_gpu: bool) -> None:
    """Connect to the other processes, by gloo on the CPU and nccl on GPUs. Does nothing in later calls."""
    import torch.distributed as distributed

    if size() > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if on_gpu else "gloo")


def wait() -> None:
    """Wait until all processes have called this."""
    if _joined():
        import torch.distributed as distributed

        distributed.barrier()


def part(count: int) -> slice:
    """This process's contiguous share of ``count`` items; all of them if there are fewer items than processes."""
    if count < size():
        return slice(0, count)
    return slice(count * rank() // size(), count * (rank() + 1) // size())


def weight(count: int) -> float:
    """The factor for this process's mean loss, so that the processes' average is the mean over all ``count`` images."""
    if count < size():
        return 1.0
    mine = part(count)
    return (mine.stop - mine.start) * size() / count


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over all processes, in place; returns it."""
    if _joined():
        import torch.distributed as distributed

        distributed.all_reduce(tensor)
    return tensor


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by its mean over all processes, in one message.

    DistributedDataParallel is not used, because it must see every forward pass, while an unlearning objective may make
    several or use parts of the model.
    """
    if not _joined():
        return
    import torch

    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    flat = add_up(torch.cat([gradient.flatten() for gradient in gradients])).div_(size())
    means = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [mean.view_as(gradient) for gradient, mean in zip(gradients, means)])


def gather(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Collect the rows of all processes, in order and on the CPU: [count, ...].

    Args:
        rows: this process's rows [n, ...], for the items that ``part(count)`` gave it.
        count: number of items in all.
    """
    if not _joined() or count < size():
        return rows.cpu()
    import torch
    import torch.distributed as distributed

    longest = -(-count // size())
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    padded = padded.to("cuda" if distributed.get_backend() == "nccl" else "cpu")
    gathered = [torch.empty_like(padded) for _ in range(size())]
    distributed.all_gather(gathered, padded)
    lengths = [count * (number + 1) // size() - count * number // size() for number in range(size())]
    return torch.cat([block[:length].cpu() for block, length in zip(gathered, lengths)])


def _joined() -> bool:
    return size() > 1
