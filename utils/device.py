"""The device of a run, and waiting for it."""
from __future__ import annotations

import os

import torch

from utils import parallel
from utils.errors import UsageError


def resolve(name: str, gpu: int | None = None, deterministic: bool = False) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` as a device that is really there.

    ``gpu`` N, the field's older flag, asks for ``cuda:N`` where this machine has CUDA at all. Under
    ``torchrun`` every process takes the GPU of its own local rank, and joins the others.

    Args:
        deterministic: let a GPU compute the same bits every time; where it cannot, torch raises a RuntimeError. The CPU always does.
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
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UsageError(f"--device {name}: this machine has {count} CUDA devices; use --device auto or cpu")
        if deterministic:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS is first used
            torch.backends.cudnn.benchmark = False
            torch.use_deterministic_algorithms(True)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: not available on this machine; use --device auto or cpu")
    return device


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished what was queued, so that a clock reads the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
