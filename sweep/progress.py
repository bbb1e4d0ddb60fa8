"""What a sweep says while it runs: which cells are at work, how far they are, and how long the rest will take."""

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
SHOWN = 4  # cells that are named
KINDS = (("script", "method", "training", "model", "scenario"), ("script", "method", "training"), ("script",), ())
EPOCH = re.compile(r"^(.*?) +epoch +(\d+)/(\d+)")


class Progress:
    """One line for people about a sweep under way.

    Args:
        executor: what runs the cells; its ``at_once`` says how many at a time.
        started: when each running cell was started, by name, on ``time.monotonic``.
    """

    def __init__(self, state: State, executor: Any, started: Mapping[str, float]):
        self._state, self._executor, self._started = state, executor, started
        self._took: dict[str, float | None] = {}
        self._said = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for the next line; asking counts as having said it."""
        if time.monotonic() - self._said < EVERY:
            return False
        self._said = time.monotonic()
        return True

    def line(self, running: Sequence[Cell], remaining: Sequence[Cell]) -> str:
        """What runs, and the time that ``remaining``, the running cells among them, will take."""
        at_work = [cell for cell in running if self._state.status(cell).get("status") == "running"]
        named = [f"{cell.name} {self.phase(cell)}" for cell in at_work[:SHOWN]]
        more = [f"{len(at_work) - SHOWN} more"] if len(at_work) > SHOWN else []
        left = self.seconds(remaining)
        eta = "" if left is None else f"; about {duration(left)} left"
        return "  ".join(["running:", ", ".join([*named, *more]) or f"nothing yet, {len(running)} waiting"]) + eta

    def phase(self, cell: Cell) -> str:
        """How far a running cell says that it is."""
        match = EPOCH.match(last_line(cell.folder / OUTPUT))
        return f"({match[1]}, epoch {match[2]}/{match[3]})" if match else "(starting or scoring)"

    def seconds(self, remaining: Sequence[Cell]) -> float | None:
        """Seconds until ``remaining`` are done, judged by finished cells of their kind; None before there is one."""
        means = self._means()
        times = [self._expected(cell, means) for cell in remaining]
        known = [seconds for seconds in times if seconds is not None]
        if not known:
            return None
        mean = statistics.fmean(known)
        return max(sum(mean if seconds is None else seconds for seconds in times) / self._executor.at_once, max(known))

    def _means(self) -> dict[tuple, float]:
        """Mean seconds of finished cells, by each of their kinds."""
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
    """What tells how long a cell takes, the closest first."""
    known = {**cell.facts, "script": cell.script}
    return [tuple((name, known.get(name)) for name in names) for names in KINDS]


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
