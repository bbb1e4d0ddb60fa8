"""Further rows of the benchmarks: time to start scripts, time of a sweep's runs, and peak memory of steps."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sweep.job import OUTPUT, last_line
from sweep.worker import Worker
from utils.errors import RunError

ROOT = Path(__file__).resolve().parent.parent
TURNS = 5
STEPS = ("epoch", "fisher", "influence", "scores", "synflow")


def _run(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def _line(title: str, seconds: list[float], limit: float) -> list[str]:
    middle = sorted(seconds)[len(seconds) // 2]
    return [title, "", f"{middle:.2f}", "", f"{min(seconds):.2f} to {max(seconds):.2f} s", f"{limit:g} s", ""]


def start() -> list[list[str]]:
    """Measure ``--help``, and a whole run that scores a model on digits; table lines under the benchmarks' heads."""
    found = [_line("main_forget.py --help", [_run("main_forget.py", "--help") for _ in range(5)], 1.0)]
    with tempfile.TemporaryDirectory() as folder:
        common = ("--dataset", "digits", "--arch", "resnet20s")
        _run("main_imp.py", *common, "--epochs", "1", "--pruning_times", "1", "--save_dir", f"{folder}/model")
        asked = f"--mask {folder}/model/0model_SA_best.pth.tar --unlearn raw --forget class:0".split()
        took = [_run("main_forget.py", *common, *asked, "--save_dir", f"{folder}/{number}") for number in range(3)]
        found.append(_line("main_forget.py --unlearn raw, digits", took, 8.0))
    return found


def memory() -> list[list[str]]:
    """Measure the peak memory of every step beyond data and libraries, each in a process of its own; table lines."""
    found = []
    for step in STEPS:
        command = [sys.executable, "-m", "benchmarks.startup", step]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        title, taken = f"peak memory over data and libraries: {step}", f"{float(done.stdout):.2f} GB"
        found.append([title, "", taken, "", "", "2 GB", ""])
    return found


def cells() -> list[list[str]]:
    """Measure a sweep's run on digits, alternately in a Python of its own and forked off one process; a table line."""
    with tempfile.TemporaryDirectory() as folder:
        common = ("--dataset", "digits", "--input_size", "8", "--arch", "resnet20s", "--device", "cpu")
        _run("main_imp.py", *common, "--epochs", "1", "--save_dir", f"{folder}/model")
        asked = [
            *common,
            "--mask",
            f"{folder}/model/0model_SA_best.pth.tar",
            "--unlearn",
            "FT",
            "--unlearn_epochs",
            "1",
        ]
        threads, log = {"OMP_NUM_THREADS": "1"}, Path(folder) / "log.txt"
        sides = [Worker(threads, log, most) for most in (1, 100)]
        times: list[list[float]] = []
        for turn in range(TURNS + 1):
            times.append([])
            for side, worker in enumerate(sides):
                place = f"{folder}/{turn}-{side}"
                task = {
                    "script": "main_forget.py",
                    "argv": [*asked, "--save_dir", place],
                    "folder": place,
                    "inputs": [],
                }
                started = time.perf_counter()
                worker.start(task)
                if worker.answer():
                    raise RunError(f"{place}: {last_line(Path(place) / OUTPUT)}")
                times[-1].append(time.perf_counter() - started)
        for worker in sides:
            worker.close()
    ratios = [plain / ours for plain, ours in times[1:]]  # the first turn imports
    plain, ours = (statistics.median(pair[side] for pair in times[1:]) for side in (0, 1))
    middle, span = f"{statistics.median(ratios):.2f} x", f"{min(ratios):.2f} to {max(ratios):.2f}"
    return [["run of a sweep, digits", f"{plain:.2f}", f"{ours:.3f}", middle, span, "4 x", "none"]]


def peak(step: str) -> float:
    """Peak gigabytes that the project's version of a step takes beyond libraries and data; NaN if not measurable."""
    import torch

    from benchmarks.rows import rows
    from utils.device import PeakMemory

    pair = rows.get(step).build(torch.device("cpu"), False)
    memory = PeakMemory(torch.device("cpu"))
    pair.ours()
    return math.nan if memory.bytes is None else memory.bytes / 1e9


ROWS: dict[str, Callable[[], list[list[str]]]] = {"start": start, "cells": cells, "memory": memory}

if __name__ == "__main__":
    print(peak(sys.argv[1]))
