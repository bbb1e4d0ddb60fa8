"""The progress line of a sweep: which cells run, at which epoch, and how long the rest will take."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.grid import Cell
from sweep.job import OUTPUT, last_line
from sweep.state import State

EVERY = 30  # seconds between two lines
SHOWN = 4  # running cells that a line names; the others are counted
KINDS = (("script", "method", "training", "model", "scenario"), ("script", "method", "training"), ("script",), ())
EPOCH = re.compile(r"^(.*?) +epoch +(\d+)/(\d+)")


class Progress:
    """Makes the progress line of a running sweep.

    Args:
        executor: the executor; its ``at_once`` is the number of cells that run at a time.
        started: when each running cell was started, by name, in seconds of ``time.monotonic``.
    """

    def __init__(self, state: State, executor: Any, started: Mapping[str, float]):
        self._state, self._executor, self._started = state, executor, started
        self._took: dict[str, float | None] = {}
        self._said = time.monotonic()

    def due(self) -> bool:
        """Whether ``EVERY`` seconds have passed since the last line. True starts the next interval."""
        if time.monotonic() - self._said < EVERY:
            return False
        self._said = time.monotonic()
        return True

    def line(self, running: Sequence[Cell], remaining: Sequence[Cell]) -> str:
        """The running cells with their epochs, and the time left.

        Args:
            remaining: all cells that are not done, the running ones included.
        """
        at_work = [cell for cell in running if self._state.status(cell).get("status") == "running"]
        named = [f"{cell.name} {self.phase(cell)}" for cell in at_work[:SHOWN]]
        more = [f"{len(at_work) - SHOWN} more"] if len(at_work) > SHOWN else []
        left = self.seconds(remaining)
        eta = "" if left is None else f"; about {duration(left)} left"
        return "  ".join(["running:", ", ".join([*named, *more]) or f"nothing yet, {len(running)} waiting"]) + eta

    def phase(self, cell: Cell) -> str:
        """The phase and epoch in the last line of a running cell's output."""
        match = EPOCH.match(last_line(cell.folder / OUTPUT))
        return f"({match[1]}, epoch {match[2]}/{match[3]})" if match else "(starting or scoring)"

    def seconds(self, remaining: Sequence[Cell]) -> float | None:
        """Seconds until ``remaining`` are done, estimated from similar cells that finished; None before one has."""
        means = self._means()
        times = [self._expected(cell, means) for cell in remaining]
        known = [seconds for seconds in times if seconds is not None]
        if not known:
            return None
        mean = statistics.fmean(known)
        return max(sum(mean if seconds is None else seconds for seconds in times) / self._executor.at_once, max(known))

    def _means(self) -> dict[tuple, float]:
        """Mean seconds of finished cells, by every key of ``_kinds``."""
        times: dict[tuple, list[float]] = {}
        for cell in self._state.cells:
            if (took := self._seconds_of(cell)) is not None:
                for kind in _kinds(cell):
                    times.setdefault(kind, []).append(took)
        return {kind: statistics.fmean(seconds) for kind, seconds in times.items()}

    def _expected(self, cell: Cell, means: Mapping[tuple, float]) -> float | None:
        """Seconds that a cell still needs: the mean of the finished ones most like it, less what it has run already."""
        mean = next((means[kind] for kind in _kinds(cell) if kind in means), None)
        ran = time.monotonic() - self._started[cell.name] if cell.name in self._started else 0.0
        return None if mean is None else max(mean - ran, 0.0)

    def _seconds_of(self, cell: Cell) -> float | None:
        """How long a finished cell took; None for others."""
        if cell.name not in self._took:
            if not self._state.known_done(cell):
                return None
            self._took[cell.name] = self._state.status(cell).get("seconds")
        return self._took[cell.name]


def _kinds(cell: Cell) -> list[tuple]:
    """Keys under which the cell's time is averaged with that of similar cells, from the most to the least similar."""
    known = {**cell.facts, "script": cell.script}
    return [tuple((name, known.get(name)) for name in names) for names in KINDS]


def duration(seconds: float) -> str:
    """A duration as text, "45 s", "12 min" or "3.5 h" for example."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
