"""Where cells run: here, some at a time, or on SLURM as job arrays; both through submitit."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from report import runs
from sweep.grid import PROJECT, Cell
from sweep.job import PATIENCE, Job, python
from sweep.state import State
from utils import files
from utils.errors import RunError, UsageError

JOBS, NUMBERS = "jobs", "jobs.json"  # submitit's folder, and the numbers of SLURM jobs, in the sweep's folder
REQUEUES = 50  # times that a job may run out of its time and go on
STATUS_EVERY = 5  # seconds between questions to SLURM
GONE_AFTER = 3  # questions in a row to which SLURM does not name a job among the living
LIVING = set(
    "PENDING RUNNING CONFIGURING COMPLETING REQUEUED REQUEUE_FED REQUEUE_HOLD RESIZING SIGNALING STOPPED SUSPENDED "
    "STAGE_OUT".split()
)
CANCELLED = -1000  # stands for an exit code


@dataclass(frozen=True)
class Resources:
    """What each run gets.

    Attributes:
        at_once: runs at a time; None for as many as there is room for.
        gpus: per run; None takes one each where this machine has any.
        cpus: cores per run, and its threads.
        time: minutes per SLURM job; a run that needs more is requeued and goes on.
        slurm: further sbatch options by their long names.
    """

    at_once: int | None = None
    gpus: int | None = None
    cpus: int = 1
    time: int = 240
    partition: str | None = None
    slurm: dict[str, Any] = field(default_factory=dict)


def job(cell: Cell, state: State, environment: dict[str, str]) -> Job:
    """A cell as something that submitit can run; it waits for no file that the cell's command reads."""
    inputs = [Path(word) for flag, word in zip(cell.words, cell.words[1:]) if flag in ("--mask", "--checkpoint")]
    needed = [path for path in inputs if any(state.by_name[name].folder in path.parents for name in cell.needs)]
    return Job(python(PROJECT / cell.script, cell.words), cell.folder, needed, environment)


@contextlib.contextmanager
def _imports_from_project() -> Iterator[None]:
    """Have processes that submitit starts inside, by ``python -m``, import from the project, not the current folder.

    The current folder is left out from Python 3.11 on.
    """
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), before.get("PYTHONPATH")]))
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Local:
    """Runs cells on this machine through submitit's local executor, as many at a time as there are slots."""

    def __init__(self, state: State, resources: Resources):
        import submitit

        self.state, self.resources = state, resources
        self.devices = _devices() if resources.gpus != 0 else []
        each = resources.gpus or 1
        room = len(self.devices) // each if self.devices else _cores() // resources.cpus
        self.slots: list[tuple[Cell, Any] | None] = [None] * (resources.at_once or max(room, 1))
        if resources.gpus and len(self.devices) < each:
            raise UsageError(f"--gpus {resources.gpus}: this machine has {len(self.devices)}; --gpus 0 runs on the CPU")
        self.executor = submitit.AutoExecutor(state.spec.folder / JOBS, cluster="local")
        self.executor.update_parameters(timeout_min=10**6, name="sweep")

    @property
    def words(self) -> str:
        """What this is, for people."""
        gpus = f"{self.resources.gpus or 1} of {len(self.devices)} GPUs each"
        where = gpus if self.devices else f"CPU, {self.resources.cpus} threads each"
        return f"local, {len(self.slots)} at a time, {where}"

    @property
    def at_once(self) -> int:
        """How many cells run at a time."""
        return len(self.slots)

    @property
    def running(self) -> list[Cell]:
        return [slot[0] for slot in self.slots if slot]

    def take(self, open_: list[Cell]) -> list[Cell]:
        """Start the first cells whose needs are done, one for each free slot."""
        ready = iter([cell for cell in open_ if all(self.state.done(self.state.by_name[name]) for name in cell.needs)])
        started = []
        for place, slot in enumerate(self.slots):
            cell = next(ready, None) if slot is None else None
            if cell is not None:
                with _imports_from_project():
                    self.slots[place] = (cell, self.executor.submit(job(cell, self.state, self._environment(place))))
                started.append(cell)
        return started

    def _environment(self, place: int) -> dict[str, str]:
        each = self.resources.gpus or 1
        own = [self.devices[(place * each + number) % len(self.devices)] for number in range(each) if self.devices]
        return {"OMP_NUM_THREADS": str(self.resources.cpus), "CUDA_VISIBLE_DEVICES": ",".join(own)}

    def ended(self) -> list[tuple[Cell, int | None]]:
        """Cells that have ended since the last call, each with its exit code; None where nobody could tell."""
        found = []
        for place, slot in enumerate(self.slots):
            if slot and slot[1].done():
                found.append((slot[0], _code(slot[1])))
                self.slots[place] = None
        return found

    def stop(self) -> None:
        """Have every run stop where it can go on, and wait for that."""
        deadline = time.monotonic() + PATIENCE
        while any(slot and not slot[1].done() for slot in self.slots) and time.monotonic() < deadline:
            for _, submitted in filter(None, self.slots):
                if not submitted.done():
                    os.kill(int(submitted.job_id), signal.SIGTERM)  # its controller, which passes the signal on
            time.sleep(1)


class Slurm:
    """Runs cells as SLURM job arrays, one for each stage, a stage waiting for the one before."""

    def __init__(self, state: State, resources: Resources):
        import submitit

        if shutil.which("sbatch") is None:
            raise UsageError("--executor slurm: there is no sbatch on this machine; --executor local runs here")
        self.state, self.resources = state, resources
        self.folder = (state.spec.folder / JOBS).absolute()
        self.jobs: dict[str, Any] = {}
        self.executor = submitit.AutoExecutor(self.folder, cluster="slurm", slurm_max_num_timeout=REQUEUES)
        path = f"PYTHONPATH={shlex.quote(str(PROJECT))}${{PYTHONPATH:+:$PYTHONPATH}}"
        self.executor.update_parameters(
            timeout_min=resources.time,
            cpus_per_task=resources.cpus,
            name=state.spec.folder.name.replace(" ", "_"),
            slurm_array_parallelism=resources.at_once or 256,
            slurm_signal_delay_s=signal_delay(resources.time),
            slurm_setup=[f"export PYTHONSAFEPATH=1 {path}"],
            **({"gpus_per_node": resources.gpus} if resources.gpus else {}),
            **({"slurm_partition": resources.partition} if resources.partition else {}),
        )
        self._asked = 0.0
        self._states: dict[str, str] = {}
        self._absent: Counter[str] = Counter()
        self._find_running()

    @property
    def words(self) -> str:
        """What this is, for people."""
        limits = f"at most {self.resources.at_once} at a time, " if self.resources.at_once else ""
        gpus = f", {self.resources.gpus} GPUs" if self.resources.gpus else ""
        each = f"{self.resources.time} minutes, {self.resources.cpus} cores{gpus} each"
        return f"SLURM, {limits}{each}, partition {self.resources.partition or 'by default'}"

    @property
    def at_once(self) -> int:
        """How many cells run at a time: those that SLURM runs now, at least one."""
        return max(1, sum(self.state.status(cell).get("status") == "running" for cell in self.running))

    @property
    def running(self) -> list[Cell]:
        return [self.state.by_name[name] for name in self.jobs]

    def take(self, open_: list[Cell]) -> list[Cell]:
        """Submit all cells when none is under way: one array a stage, each after the end of the one before."""
        if self.jobs or not open_:
            return []
        before = None
        for number in sorted({self.state.stage(cell) for cell in open_}):
            cells = [cell for cell in open_ if self.state.stage(cell) == number]
            extra = {**self.resources.slurm, **({"dependency": f"afterany:{before}"} if before else {})}
            self.executor.update_parameters(slurm_additional_parameters=extra)
            environment = {"OMP_NUM_THREADS": str(self.resources.cpus)}
            submitted = self.executor.submit_array([job(cell, self.state, environment) for cell in cells])
            self.jobs |= {cell.name: one for cell, one in zip(cells, submitted)}
            before = submitted[0].job_id.split("_")[0]
        files.write_json(self.state.spec.folder / NUMBERS, {name: one.job_id for name, one in self.jobs.items()})
        return open_

    def _find_running(self) -> None:
        """Take up jobs of an earlier sweep that still wait or run."""
        from submitit import SlurmJob

        known = runs.read(self.state.spec.folder / NUMBERS)
        states = (job_states() or {}) if known else {}
        for name, number in known.items():
            if name in self.state.by_name and states.get(number) in LIVING:
                self.jobs[name] = SlurmJob(self.folder, number)

    def ended(self) -> list[tuple[Cell, int | None]]:
        """Cells that have ended since the last call, each with its exit code; None where nobody could tell."""
        if self.jobs and time.monotonic() - self._asked > STATUS_EVERY:
            self._ask()
        over = {}
        for name, one in list(self.jobs.items()):
            ended = one.paths.result_pickle.exists()
            if ended or self._absent[one.job_id] >= GONE_AFTER:
                cancelled = not ended and self._states.get(one.job_id) == "CANCELLED"
                over[name] = CANCELLED if cancelled else _code(one)
                del self.jobs[name]
        return [(self.state.by_name[name], code) for name, code in over.items()]

    def _ask(self) -> None:
        self._asked = time.monotonic()
        found = job_states()
        if found is not None:
            self._states = found
            for one in self.jobs.values():
                self._absent[one.job_id] = 0 if found.get(one.job_id) in LIVING else self._absent[one.job_id] + 1

    def stop(self) -> None:
        """Nothing: what SLURM has been told goes on, and the next call finds it."""


EXECUTORS: dict[str, Callable[[State, Resources], Local | Slurm]] = {"local": Local, "slurm": Slurm}


def job_states() -> dict[str, str] | None:
    """States of this user's jobs, array tasks one by one; None if SLURM does not answer. Needs no accounting."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--me", "--format=%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return dict(line.split()[:2] for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else None


def signal_delay(minutes: int) -> int:
    """Seconds before its time is up at which a job is told: two minutes, a fifth of its time if that is less."""
    return max(1, min(120, 12 * minutes))


def _code(submitted: Any) -> int | None:
    if not submitted.paths.result_pickle.exists():
        return None
    error = submitted.exception()
    if error is not None and "Job not requeued" not in str(error):
        raise RunError(f"job {submitted.job_id} could not run: {str(error).strip().splitlines()[-1]}")
    return None if error is not None else submitted.result()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return listed or [str(number) for number in range(torch.cuda.device_count())]
