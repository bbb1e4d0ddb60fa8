"""The device of a run: its choice, its memory, its arithmetic, and waiting for it."""

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
KEPT = 2**31 - 1  # free bytes at the end of the heap that stay with the process
MAPPED = 24 * 2**20  # bytes from which a block that needs new memory gets a mapping of its own
ORDINARY = 2**26, 2**25  # the two thresholds that glibc reaches by itself once large blocks were freed


def resolve(
    name: str,
    gpu: int | None = None,
    deterministic: bool = False,
    no_fast_cpu: bool = False,
    tf32: bool = False,
    compile: bool = False,
) -> torch.device:
    """Choose the device of this process and configure torch for it.

    Under ``torchrun`` every process takes the GPU of its own local rank, and joins the others.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N" or "mps".
        gpu: the value N of ``--gpu``, the field's older flag: with "auto" it means ``cuda:N`` where there is CUDA.
        deterministic: make a GPU compute the same bits every time; where it cannot, torch raises a RuntimeError.
        no_fast_cpu: use torch's own arithmetic on the CPU, see ``fast_cpu``.
        tf32: let CUDA round the factors of float32 convolutions and matrix products to TF32. Otherwise none are
            rounded; torch's default rounds those of convolutions.
        compile: compile training steps, see ``trainer.compiled``.
    Raises:
        UsageError: this machine lacks the device, or ``compile`` is given with several processes.
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
        torch.cuda.set_device(device)  # the default for the device's name, memory statistics and unspecific tensors
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = not deterministic  # the first step of a shape tries cuDNN's algorithms
        if deterministic:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS is first used
            torch.use_deterministic_algorithms(True)
    parallel.start(device.type == "cuda")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: not available on this machine; use --device auto or cpu")
    _Arithmetic.fast, _Arithmetic.compiling = not no_fast_cpu, compile  # last, so that a refused device changes nothing
    return device


class _Arithmetic:
    fast, compiling = True, False


def fast_cpu() -> bool:
    """Whether layers use ``trainer.cpu_arithmetic`` on the CPU, as last told to ``resolve``; True before that."""
    return _Arithmetic.fast


def compiling() -> bool:
    """Whether training steps are compiled, as last told to ``resolve``; False before that."""
    return _Arithmetic.compiling


def half(device: torch.device, enabled: bool) -> torch.autocast:
    """A context in which forward passes use bfloat16, if ``enabled``.

    On a device without bfloat16 arithmetic, where that is slower than float32, a warning is printed once.
    """
    if enabled and not has_bfloat16(device):
        _warn_of_slow_bfloat16()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic in hardware. Processors other than x86 are assumed to have it."""
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
    """Let the C library keep freed memory for the next tensors, instead of returning large blocks to the system.

    Activations are freed and allocated again in every step, and the system clears a returned block page by page when
    it is used again. Does nothing where the C library is not glibc.

    Args:
        trim_threshold: free bytes at the end of the heap that are kept.
        mmap_threshold: size in bytes from which a block that fits into no free part of the heap gets a mapping of its
            own, which is returned when freed. Without it, holes let the heap of a training with batches of 256 grow by
            half a gigabyte.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(M_TRIM_THRESHOLD, trim_threshold)
        library.mallopt(M_MMAP_THRESHOLD, mmap_threshold)


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor from the CPU to a device without making the host wait; inside vmap it may have to."""
    if device.type != "cuda":
        return tensor.to(device)
    batched = torch._C._functorch.is_batchedtensor(tensor)  # torch cannot pin the memory of these
    return (tensor if batched else tensor.pin_memory()).to(device, non_blocking=True)


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all queued work, so that times measured on the host are right."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_memory(device: torch.device) -> int | None:
    """Bytes that new tensors could take on a CUDA device, rounded down to a power of two; None for other devices.

    Batch sizes follow from it, and the last digits of results depend on batch sizes. It is therefore rounded; under
    ``--deterministic`` it is a quarter of the device's memory, whatever else runs there.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # reserved by torch, but unused
    return 1 << (total // 4 if torch.are_deterministic_algorithms_enabled() else free).bit_length() - 1


class PeakMemory:
    """Measures the peak growth of used memory since its creation: of the device on CUDA, else of the process.

    The process's memory is measured on Linux only. Where the C library is not glibc, the result is too
    low by memory that the process had freed but not returned. For one of several runs in a process (``utils.lanes``) it
    cannot be measured.
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
        """The growth so far in bytes; None where it cannot be measured."""
        if self._start is None:
            return None
        highest = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else _resident("VmHWM")
        return max(highest - self._start, 0)


def _forget_highest() -> bool:
    """Reset the kernel's record of the process's peak memory, after returning free memory; whether that worked."""
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
