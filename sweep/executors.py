"""Executors: run cells on this machine, several at a time, or on SLURM.

With either, one process runs many cells one after the other, see ``sweep.serve``.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterable

from sweep.alike import Grouping
from sweep.grid import Cell
from sweep.job import PATIENCE
from sweep.resources import JOBS, Resources
from sweep.slurm import Slurm
from sweep.state import State
from sweep.worker import Worker
from utils.errors import UsageError


class Local:
    """Runs cells on this machine, in as many worker processes as there is room for; each runs many cells in turn.

    Raises:
        UsageError: the machine has fewer GPUs than one run is to get.
    """

    def __init__(self, state: State, resources: Resources):
        self.state, self.resources = state, resources
        self.devices = _devices() if resources.gpus != 0 else []
        each = resources.gpus or 1
        room = len(self.devices) // each if self.devices else _cores() // resources.cpus
        if resources.gpus and len(self.devices) < each:
            raise UsageError(f"--gpus {resources.gpus}: this machine has {len(self.devices)}; --gpus 0 runs on the CPU")
        logs, max_cells = state.spec.folder / JOBS, resources.cells_per_process
        self._workers = [
            Worker(self._environment(place), logs / f"process{place}.txt", max_cells)
            for place in range(resources.at_once or max(room, 1))
        ]
        self._at_work: dict[int, list[Cell]] = {}  # by the worker's place
        self._grouping = Grouping(resources.models_at_once, self.at_once)

    @property
    def description(self) -> str:
        """Executor, number of runs at a time and device of each, for the header that is printed."""
        gpus = f"{self.resources.gpus or 1} of {len(self.devices)} GPUs each"
        device = gpus if self.devices else f"CPU, {self.resources.cpus} threads each"
        return f"local, {self.at_once} at a time, {device}"

    @property
    def at_once(self) -> int:
        """The number of worker processes. With ``--models_at_once`` each may run several cells."""
        return len(self._workers)

    @property
    def running(self) -> list[Cell]:
        return [cell for cells in self._at_work.values() for cell in cells]

    def take(self, open_: Iterable[Cell]) -> list[Cell]:
        """Give each free worker a cell, or a group of alike ones, whose needs are done; the cells that were started.

        Args:
            open_: cells that are neither done nor running, in the order in which to start them.
        """
        running = {cell.name for cell in self.running}
        needs = ((cell, (self.state.by_name[name] for name in cell.needs)) for cell in open_)
        ready = (cell for cell, needed in needs if cell.name not in running and all(map(self.state.done, needed)))
        free = [place for place in range(self.at_once) if place not in self._at_work]
        started = dict(zip(free, self._grouping.groups(ready, len(free))))
        for place, cells in started.items():
            self._at_work[place] = cells
            first, *others = [cell.task(self.state.by_name) for cell in cells]
            self._workers[place].start({**first, "with": others} if others else first)
        return [cell for cells in started.values() for cell in cells]

    def _environment(self, slot: int) -> dict[str, str]:
        each = self.resources.gpus or 1
        own = [self.devices[(slot * each + number) % len(self.devices)] for number in range(each) if self.devices]
        return {"OMP_NUM_THREADS": str(self.resources.cpus), "CUDA_VISIBLE_DEVICES": ",".join(own)}

    def wait(self, seconds: float) -> None:
        """Wait until a cell has ended, at most ``seconds``."""
        self._over(seconds)

    def _over(self, seconds: float) -> list[int]:
        """Places of the workers whose cells have ended, after waiting for the first at most ``seconds``."""
        with selectors.DefaultSelector() as selector:
            for place in self._at_work:
                selector.register(self._workers[place], selectors.EVENT_READ, place)
            return [key.data for key, _ in selector.select(seconds)]

    def ended(self) -> list[tuple[Cell, int | None]]:
        """Cells that have ended since the last call, each with its exit code; None for one that was killed."""
        ended: list[tuple[Cell, int | None]] = []
        for place in self._over(0):
            cells, codes = self._at_work.pop(place), self._workers[place].answers()
            if len(cells) > 1:
                self._grouping.alone |= {cell.name for cell, code in zip(cells, codes) if code is None or code < 0}
            ended += zip(cells, codes)
        return ended

    def stop(self) -> None:
        """Ask every run to stop where it can be resumed, and wait for that, at most ``PATIENCE`` seconds."""
        for place in self._at_work:
            self._workers[place].stop()
        deadline = time.monotonic() + PATIENCE
        while len(self._over(0)) < len(self._at_work) and time.monotonic() < deadline:
            time.sleep(0.1)

    def close(self) -> None:
        """End the worker processes that run no cell."""
        for worker in self._workers:
            worker.close()


EXECUTORS: dict[str, Callable[[State, Resources], Local | Slurm]] = {"local": Local, "slurm": Slurm}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> list[str]:
    """The GPUs that this process may use, named as in ``CUDA_VISIBLE_DEVICES``."""
    import torch

    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return listed or [str(number) for number in range(torch.cuda.device_count())]
