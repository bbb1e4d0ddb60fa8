"""Measures seconds, kernel launches, waits and memory of training epochs, and seconds of other steps."""

from __future__ import annotations

import functools
import time
from typing import Any

import torch

from benchmarks import data
from benchmarks.gpu.visit import Visit
from benchmarks.rows import rows
from dataset.images import Augment
from pruner import MaskEnforcer
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Classification
from utils.device import PeakMemory, resolve, synchronise

WAYS: dict[str, dict[str, bool]] = {"eager": {}, "--amp": {"amp": True}, "--compile": {"compile": True}}
WAYS["--amp --compile"] = {"amp": True, "compile": True}
OTHERS = {"scores": 30, "fisher": 30, "influence": 30, "synflow": 20}  # seconds that must be left to start two runs
# CUDA's functions by which the host launches work on a GPU, and those by which it waits for it.
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def measure(visit: Visit) -> None:
    """Measure epochs of every network with every combination of ``WAYS``, then the other steps of a run."""
    count = 96 if visit.tiny else 45_000
    for arch in ("resnet20s",) if visit.tiny else ("resnet18", "resnet20s"):
        for way, more in WAYS.items():
            needs = 20 if visit.tiny else 90 if more.get("compile") else 30
            if visit.device.type == "cpu" and more:
                visit.note("bench", f"{arch} {way}", "skipped: slower than eager on a CPU")
                continue
            visit.attempt("bench", f"{arch} {way}", needs, functools.partial(_epoch, visit, arch, count, **more))
    for name, needs in {} if visit.tiny else OTHERS.items():
        visit.attempt("bench", name, needs, functools.partial(_other, visit, name))


def _epoch(visit: Visit, arch: str, count: int, amp: bool = False, compile: bool = False) -> dict[str, Any]:
    """Measure five epochs of a 95 % sparse model: the first, the fastest of the next three, and a profiled one."""
    resolve(str(visit.device), compile=compile)
    try:
        images, network, seconds = _images(count, visit.device), data.model(arch, visit.device), []
        kept = data.mask(network)
        MaskEnforcer(network, kept)
        recipe = Recipe(5, 0.01, schedule="constant", batch_size=32 if visit.tiny else 256, amp=amp)
        epochs = Training(network, recipe, kept).run(images, 1, Classification().mean)
        memory = PeakMemory(visit.device)
        for _ in range(4):
            synchronise(visit.device)
            started = time.perf_counter()
            next(epochs)
            synchronise(visit.device)
            seconds.append(round(time.perf_counter() - started, 4))
        return {
            "seconds per epoch": min(seconds[1:]),
            "seconds of the first": seconds[0],
            "spread": seconds[1:],
            "peak memory": memory.bytes,
            **_watched(epochs, visit.device, len(images.sizes(recipe.batch_size))),
        }
    finally:
        resolve(str(visit.device))


def _watched(epochs: Any, device: torch.device, steps: int) -> dict[str, Any]:
    """Numbers of launches, kernels and waits in the next epoch, counted by torch's profiler; None on a CPU."""
    if device.type != "cuda":
        return {"launches per step": None, "waits per epoch": None, "kernels per step": None}
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        next(epochs)
        synchronise(device)
    counts = {event.key: event.count for event in watched.key_averages()}
    kernels = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in watched.events())
    return {
        "launches per step": round(sum(counts.get(name, 0) for name in LAUNCHES) / steps, 1),
        "kernels per step": round(kernels / steps, 1),
        "waits per epoch": {name: counts[name] for name in WAITS if name in counts},
    }


@functools.cache
def _images(count: int, device: torch.device) -> Any:
    return data.draw(count).ours(device, Augment())


def _other(visit: Visit, name: str) -> dict[str, float]:
    """Seconds of a row of ``python -m benchmarks --device cuda`` (the second of two runs), and those asked for."""
    pair, seconds = rows.get(name).build(visit.device, rows.get(name).amp_goal is not None), []
    for _ in range(2):
        synchronise(visit.device)
        started = time.perf_counter()
        pair.ours()
        synchronise(visit.device)
        seconds.append(round(time.perf_counter() - started, 3))
    return {"seconds": seconds[-1], "asked": rows.get(name).seconds or 0.0}
