"""Time the project against plain versions of the same steps.

    python -m benchmarks                     # all rows
    python -m benchmarks epoch fisher        # some
    python -m benchmarks --device cuda       # seconds at full size on a GPU

The plain and the project's version of a step run alternately in one process. The ratio is the median over these turns,
the spread its smallest and largest value.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import startup
from benchmarks.rows import Row, rows
from report.text import aligned
from utils.device import ORDINARY, has_bfloat16, keep_memory, resolve, synchronise
from utils.errors import leave, script

HEADS = ["step", "plain s", "ours s", "ratio", "spread", "asked", "difference"]


@script
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time the project against plain versions of the same steps."
    )
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"which: {', '.join([*rows, *startup.ROWS])}; all without it"
    )
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for seconds at full size (cpu)")
    typed = parser.parse_args(argv)
    for name in typed.rows:
        if name not in startup.ROWS:
            rows.get(name)
    wanted = typed.rows or [*rows, *startup.ROWS]
    device = resolve(typed.device)
    print(machine(device), flush=True)
    found: list[list[str]] = []
    for name in wanted:
        found += startup.ROWS[name]() if name in startup.ROWS else measure(rows.get(name), device)
        print("  ".join(found[-1]), file=sys.stderr, flush=True)
    print("\n" + aligned(HEADS, found))
    if not torch.cuda.is_available():
        print("\nNo GPU was at hand: nothing here says how fast one is.")
    return 0


def machine(device: torch.device) -> str:
    """The machine in a line: processor or GPU, threads, version of torch, bfloat16."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    bfloat16 = "in hardware" if has_bfloat16(device) else "not in hardware"
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}; bfloat16 {bfloat16}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return (
                next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
                + f", {os.cpu_count()} cores"
            )
    except (OSError, StopIteration):
        return f"CPU, {os.cpu_count()} cores"


def measure(row: Row, device: torch.device) -> list[list[str]]:
    """Measure a row in float32, and in bfloat16 if it has a goal for that; on CUDA in one of the two.

    Returns:
        One table line of cells under ``HEADS`` for each measurement.
    """
    found = []
    for amp, goal in ((False, row.goal), (True, row.amp_goal)):
        title = row.title + (", --amp" if amp else "")
        if goal is None:
            continue
        if device.type == "cuda":
            if amp == (row.amp_goal is not None):
                found.append(_seconds(row, title, device, amp))
        elif amp and not has_bfloat16(device):
            found.append(
                [title, "", "", "", "", f"{goal:g} x", "not measured: this processor has no bfloat16 arithmetic"]
            )
        else:
            found.append(_ratio(row, title, goal, device, amp))
        gc.collect()
    return found


def _ratio(row: Row, title: str, goal: float, device: torch.device, amp: bool) -> list[str]:
    pair = row.build(device, amp)
    times = []
    for _ in range(row.repeats):
        keep_memory(*ORDINARY)  # the C library's own settings, which a plain script would have
        plain = _time(pair.plain, device, row.steady)
        keep_memory()
        times.append((plain, _time(pair.ours, device, row.steady)))
    ratios = [plain[0] / ours[0] for plain, ours in times]
    plain, ours = (statistics.median(seconds[side][0] for seconds in times) for side in (0, 1))
    difference = pair.difference(times[-1][1][1], times[-1][0][1])
    middle, span = f"{statistics.median(ratios):.2f} x", f"{min(ratios):.2f} to {max(ratios):.2f}"
    return [title, f"{plain:.2f}", f"{ours:.3f}", middle, span, f"{goal:g} x", difference]


def _seconds(row: Row, title: str, device: torch.device, amp: bool) -> list[str]:
    pair = row.build(device, amp)
    _time(pair.ours, device)
    seconds = [_time(pair.ours, device)[0] for _ in range(row.repeats)]
    asked = "" if row.seconds is None else f"{row.seconds:g} s"
    span = f"{min(seconds):.3f} to {max(seconds):.3f} s"
    return [title, "", f"{statistics.median(seconds):.3f}", "", span, asked, "full size"]


def _time(work: Callable[[], Any], device: torch.device, steady: bool = False) -> tuple[float, Any]:
    if steady:
        work()
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    return time.perf_counter() - started, result


if __name__ == "__main__":
    leave(main())
