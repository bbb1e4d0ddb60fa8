"""The loop that runs a sweep: starts cells whose needs are done, notes how they end, and lists the outcome."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from sweep.grid import Cell
from sweep.job import WAITING
from sweep.progress import Progress
from sweep.slurm import CANCELLED
from sweep.state import State
from utils.preempt import RESUMABLE

TRIES = 3  # attempts at a cell that is killed from outside, before it is given up
PAUSE = 0.5  # seconds


class Runner:
    """Runs every cell that is not done, each after those that it needs.

    A cell that ends with an error is not tried again, and cells that need it do not run. A cell that is killed from
    outside is tried up to ``TRIES`` times. A cell that a person cancels is left for the next call.

    Args:
        executor: a ``Local`` or ``Slurm``.
        deadline: when to stop, in seconds of ``time.monotonic``; None for no limit.
    Attributes:
        given_up: why a cell is not tried again, by its name.
        attempts: how often each cell was started, by its name.
        started: when each cell was last started, in seconds of ``time.monotonic``, by its name.
    """

    def __init__(self, state: State, cells: list[Cell], executor: Any, deadline: float | None = None):
        self.state, self.cells, self.executor, self.deadline = state, cells, executor, deadline
        self.given_up: dict[str, str] = {}
        self._left = cells  # neither known to be done nor beyond finishing
        self.attempts: Counter[str] = Counter()
        self.started: dict[str, float] = {}
        self.progress = Progress(state, executor, self.started)

    def run(self) -> None:
        """Run cells until none is left that can run, or the deadline has passed."""
        try:
            while True:
                for cell, code in self.executor.ended():
                    self.settle(cell, code)
                for cell in self.executor.take(self.open()):
                    self.attempts[cell.name] += 1
                    self.started[cell.name] = time.monotonic()
                if not self.executor.running:
                    return
                if self.progress.due():
                    tried = (cell for cell in self.cells if cell.name not in self.given_up)
                    left = [cell for cell in tried if not self.state.known_done(cell)]
                    print(self._count(), self.progress.line(self.executor.running, left), flush=True)
                if self.deadline is not None and time.monotonic() > self.deadline:
                    print("the time is up", flush=True)
                    return
                self.executor.wait(PAUSE)
        finally:
            self.executor.stop()
            for cell, code in self.executor.ended():
                self.settle(cell, code)

    def open(self) -> Iterator[Cell]:
        """Cells that are neither done nor running and can run, now or once the cells that they need are done."""
        running = {cell.name for cell in self.executor.running}
        self._left = [cell for cell in self._left if not self.state.known_done(cell) and self._can_finish(cell)]
        return (cell for cell in self._left if cell.name not in running and not self.state.done(cell))

    def _can_finish(self, cell: Cell) -> bool:
        needed = (self.state.by_name[name] for name in cell.needs)
        return cell.name not in self.given_up and all(
            self.state.known_done(need) or self._can_finish(need) for need in needed
        )

    def settle(self, cell: Cell, code: int | None) -> None:
        """Note and print how an attempt at a cell ended.

        Args:
            code: its exit code; None if it was killed, ``CANCELLED`` if a person cancelled it.
        """
        status = self.state.status(cell)
        if code == 0:
            self.state.mark(cell)
            self._say("done", cell)
        elif code == CANCELLED:
            self.given_up[cell.name] = "cancelled"
        elif code == WAITING and self.attempts[cell.name] < TRIES:
            pass  # its model was killed or is yet to come
        elif code == RESUMABLE:
            self._say("stopped", cell)
        elif (code is None or code < 0) and self.attempts[cell.name] < TRIES:
            self._say("killed", cell, "; it goes on")
        else:
            self.given_up[cell.name] = (
                "its model is not there" if code == WAITING else status.get("last_line") or f"ended with code {code}"
            )
            self.state.note_failure(cell, code)
            self._say("FAILED", cell, f"  {self.given_up[cell.name]}")

    def _say(self, event: str, cell: Cell, detail: str = "") -> None:
        seconds = f"  {time.monotonic() - self.started[cell.name]:.0f} s" if cell.name in self.started else ""
        print(self._count(), f"{event:<7} {cell.name}{seconds}{detail}", flush=True)

    def _count(self) -> str:
        return f"[{self.state.count(self.cells)}/{len(self.cells)}]"


def summary(state: State, cells: list[Cell], given_up: dict[str, str]) -> tuple[str, int]:
    """The list of done, failed and missing cells, and the sweep's exit code.

    Args:
        given_up: ``Runner.given_up``.
    Returns:
        The text, and 0 if all cells are done, 1 if any failed, else 75.
    """
    left = [cell for cell in cells if not state.done(cell)]
    failed = {cell.name: cell for cell in left if state.failed(cell)}
    missing = [cell for cell in left if cell.name not in failed]
    lines = [f"done     {len(cells) - len(left)} of {len(cells)}", f"failed   {len(failed)}"]
    for cell in failed.values():
        line = state.status(cell).get("last_line") or "nothing was printed"
        lines.append(f"  {cell.name}  {line}  (log: {cell.folder / 'output.txt'})")
    lines.append(f"missing  {len(missing)}")
    lines += [f"  {cell.name}  {_why(state, cell, failed, given_up)}" for cell in missing]
    return "\n".join(lines), 1 if failed else RESUMABLE if missing else 0


def _why(state: State, cell: Cell, failed: Collection[str], given_up: dict[str, str]) -> str:
    needs = [state.by_name[name] for name in cell.needs]
    waits = next((need.name for need in needs if not state.done(need)), None)
    if waits is not None:
        return f"waits for {waits}" + (", which failed" if waits in failed else "")
    end = {"interrupted": "stopped", "killed": "killed", "running": "was cut"}.get(state.status(cell).get("status", ""))
    return given_up.get(cell.name) or (f"{end}; it goes on when called again" if end else "not started")
