"""The device of a run, and waiting for it."""
from __future__ import annotations

import os
from pathlib import Path

import torch

from utils import parallel
from utils.errors import UsageError


def resolve(name: str, gpu: int | None = None) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` as a device that is really there.

    ``gpu`` N, the field's older flag, asks for ``cuda:N`` where this machine has CUDA at all. Under
    ``torchrun`` every process takes the GPU of its own local rank, and joins the others.

    Raises:
        UsageError: for a device that this machine lacks.
    """
    if parallel.size() > 1:
        on_gpu = name != "cpu" and torch.cuda.is_available()
        name = f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else "cpu"
        if on_gpu:
            torch.cuda.set_device(name)
        parallel.start(on_gpu)
    if name == "auto" and gpu is not None and torch.cuda.is_available():
        name = f"cuda:{gpu}"
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UsageError(f"--device {name}: this machine has {count} CUDA devices; use --device auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: not available on this machine; use --device auto or cpu")
    return device


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished what was queued, so that a clock reads the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class PeakMemory:
    """By how many bytes the memory in use grew at its highest since this was made: the device's on CUDA, else the process's.

    The latter on Linux only, and lower by what the process had set free before.
    """

    def __init__(self, device: torch.device):
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._start = torch.cuda.memory_allocated(device)
        else:
            self._start = _resident("VmRSS") if _forget_highest() else None

    @property
    def bytes(self) -> int | None:
        """The growth so far; None where it cannot be told."""
        if self._start is None:
            return None
        highest = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else _resident("VmHWM")
        return max(highest - self._start, 0)


def _forget_highest() -> bool:
    """Have the kernel measure the process's highest memory from now on; whether it does."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def _resident(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])
