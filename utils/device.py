"""The device of a run, and waiting for it."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from pathlib import Path

import torch

from utils import lanes, parallel
from utils.errors import UsageError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 2**31 - 1  # bytes that stay with the process when freed
MAPPED = 24 * 2**20  # size from which a block that needs new memory is mapped alone
ORDINARY = 2**26, 2**25  # what glibc comes to by itself when blocks this large are freed


def resolve(
    name: str,
    gpu: int | None = None,
    deterministic: bool = False,
    no_fast_cpu: bool = False,
    tf32: bool = False,
    compile: bool = False,
) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` as a device that is really there.

    ``gpu`` N, the field's older flag, asks for ``cuda:N`` where this machine has CUDA at all. Under
    ``torchrun`` every process takes the GPU of its own local rank, and joins the others.

    Args:
        deterministic: let a GPU compute the same bits every time; where it cannot, torch raises a RuntimeError.
        no_fast_cpu: compute on the CPU as torch does, see ``fast_cpu``.
        tf32: let CUDA round the factors of float32 convolutions and products to TF32; otherwise it rounds none, where
            torch by itself would round those of convolutions.
        compile: take training steps as ``trainer.compiled`` does.
    Raises:
        UsageError: for a device that this machine lacks.
    """
    if compile and parallel.size() > 1:
        raise UsageError("--compile: is for one process; leave it out, or start without torchrun")
    if parallel.size() > 1:
        on_gpu = name != "cpu" and torch.cuda.is_available()
        name = f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else "cpu"
    if name == "auto" and gpu is not None and torch.cuda.is_available():
        name = f"cuda:{gpu}"
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cpu":
        keep_memory()
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UsageError(f"--device {name}: this machine has {count} CUDA devices; use --device auto or cpu")
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)  # that of names, of memory in use, and of whatever names no device
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = not deterministic  # the first step of a shape tries cuDNN's algorithms
        if deterministic:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS is first used
            torch.use_deterministic_algorithms(True)
    parallel.start(device.type == "cuda")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: not available on this machine; use --device auto or cpu")
    _Arithmetic.fast, _Arithmetic.compiling = not no_fast_cpu, compile  # not where a device was refused
    return device


class _Arithmetic:
    fast, compiling = True, False


def fast_cpu() -> bool:
    """Whether layers compute by ``trainer.cpu_arithmetic`` on the CPU, as ``resolve`` was told for this process."""
    return _Arithmetic.fast


def compiling() -> bool:
    """Whether training steps are compiled, as ``resolve`` was told for this process."""
    return _Arithmetic.compiling


def half(device: torch.device, enabled: bool) -> torch.autocast:
    """Forward passes in bfloat16 inside, if ``enabled``; a line on stderr, once, where that is slower than float32."""
    if enabled and not has_bfloat16(device):
        _warn_of_slow_bfloat16()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 numbers by itself; processors other than x86 are taken to."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@functools.cache
def _warn_of_slow_bfloat16() -> None:
    reason = "this device has no bfloat16 arithmetic, so that float32 is faster"
    print(f"warning: --amp: {reason}", file=sys.stderr, flush=True)


def keep_memory(trim_threshold: int = KEPT, mmap_threshold: int = MAPPED) -> None:
    """Let the C library keep freed memory for the next tensors instead of handing every large block back to the system.

    Activations are freed and wanted again in every step; a block that the system hands out anew is cleared page by page
    on first touch. Does nothing where the C library is not glibc.

    Args:
        trim_threshold: free bytes at the end of the heap that stay.
        mmap_threshold: blocks from this size on go back at once if no room for them had been left by others; without
            it the heap of a training with batches of 256 grows by half a gigabyte of holes.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(M_TRIM_THRESHOLD, trim_threshold)
        library.mallopt(M_MMAP_THRESHOLD, mmap_threshold)


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on a device, copied while the host goes on; inside of vmap the host may wait."""
    if device.type != "cuda":
        return tensor.to(device)
    batched = torch._C._functorch.is_batchedtensor(tensor)  # which torch cannot pin
    return (tensor if batched else tensor.pin_memory()).to(device, non_blocking=True)


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished what was queued, so that a clock reads the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_memory(device: torch.device) -> int | None:
    """Bytes that new tensors could take on a CUDA device, rounded down to a power of two; None for other devices.

    Sizes of batches follow from it, and last digits from these. So it is rounded, and under ``--deterministic`` a
    quarter of the device, whatever else runs there.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # kept by torch for new tensors
    return 1 << (total // 4 if torch.are_deterministic_algorithms_enabled() else free).bit_length() - 1


class PeakMemory:
    """By how many bytes memory in use grew at most since this was made: the device's on CUDA, else the process's.

    The latter on Linux only; where the C library is not glibc it is lower by what the process had set free before.
    It cannot be told for one of several runs in a process (``utils.lanes``).
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._start: int | None
        if lanes.inside():
            self._start = None
        elif device.type == "cuda":
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
    """Have the kernel measure the process's highest memory from now on, of what is in use; whether it does."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def _resident(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])
