"""Runs cells as SLURM job arrays through submitit: one array per stage, several cells in each of its jobs."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from report import runs
from sweep.grid import PROJECT, Cell
from sweep.job import PATIENCE
from sweep.resources import JOBS, Resources
from sweep.state import State
from sweep.worker import Worker
from utils import files
from utils.errors import RunError, UsageError
from utils.preempt import RESUMABLE

NUMBERS = "jobs.json"  # in the sweep's folder: ids of SLURM jobs by cell
LONGEST = 500  # jobs in an array unless --cells_per_job is given; many clusters refuse more than 1,000
REQUEUES = 50  # how often a job may run out of time and be requeued
STATUS_EVERY = 5  # seconds between two calls of squeue
GONE_AFTER = 3  # calls of squeue in a row without a job among the LIVING, after which it counts as ended
LIVING = set(
    "PENDING RUNNING CONFIGURING COMPLETING REQUEUED REQUEUE_FED REQUEUE_HOLD RESIZING SIGNALING STOPPED SUSPENDED "
    "STAGE_OUT".split()
)
CANCELLED = -1000  # in place of an exit code: a person cancelled the job


class Batch:
    """What runs inside a SLURM job: cells one after the other, stopped when SLURM signals and resumed when requeued.

    Args:
        tasks: what ``Cell.task`` returns, by the cell's name.
        variables: environment variables to set.
        log: where the process that runs the cells writes errors of its own.
        max_cells: cells after which that process is replaced.
    """

    def __init__(self, tasks: dict[str, dict[str, Any]], variables: dict[str, str], log: Path, max_cells: int):
        self.tasks, self.variables, self.log, self.max_cells = tasks, variables, log, max_cells
        self.codes: dict[str, int | None] = {}
        self._worker: Worker | None = None
        self._told = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_worker": None, "_told": False}

    def __call__(self) -> dict[str, int | None]:
        """Run the cells; every cell's exit code by its name, None for one that was killed."""
        signal.signal(signal.SIGTERM, self._stop)
        self._worker = Worker(self.variables, self.log, self.max_cells)
        for name, task in self.tasks.items():
            if not self._told and self.codes.get(name) != 0:
                self._worker.start(task)
                if self._told:  # told while it was being started
                    self._worker.stop()
                self.codes[name] = self._worker.answer()
        self._worker.close()
        if self._told:
            time.sleep(PATIENCE)  # a job preempted by SIGTERM is requeued only if SLURM has to kill it
        return {name: self.codes.get(name, RESUMABLE) for name in self.tasks}

    def checkpoint(self) -> Any:
        """Stop the cells; what submitit is to submit when it requeues the job: this batch, which then goes on."""
        from submitit.helpers import DelayedSubmission

        self._stop()
        deadline = time.monotonic() + PATIENCE
        while self._worker is not None and not self._worker.over and time.monotonic() < deadline:
            time.sleep(0.05)
        return DelayedSubmission(self)

    def _stop(self, number: int | None = None, frame: FrameType | None = None) -> None:
        self._told = True
        if self._worker is not None:
            self._worker.stop()


class Slurm:
    """Runs cells as SLURM job arrays, one per stage; a stage waits for the end of the one before.

    Jobs that an earlier sweep in the folder submitted and that still wait or run are taken over.

    Raises:
        UsageError: there is no ``sbatch``.
    """

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
    def description(self) -> str:
        """Executor and what each run gets, for the header that is printed."""
        limits = f"at most {self.resources.at_once} at a time, " if self.resources.at_once else ""
        gpus = f", {self.resources.gpus} GPUs" if self.resources.gpus else ""
        each = f"{self.resources.time} minutes, {self.resources.cpus} cores{gpus} each"
        return f"SLURM, {limits}{each}, partition {self.resources.partition or 'by default'}"

    @property
    def at_once(self) -> int:
        """The number of cells that run now, at least 1."""
        return max(1, sum(self.state.status(cell).get("status") == "running" for cell in self.running))

    @property
    def running(self) -> list[Cell]:
        return [self.state.by_name[name] for name in self.jobs]

    def take(self, open_: Iterable[Cell]) -> list[Cell]:
        """Submit all of ``open_``, one array per stage, if no job waits or runs; the cells that were submitted.

        Each array starts after the one before has ended, however its jobs ended.
        """
        if self.jobs or not (waiting := list(open_)):
            return []
        before = None
        for number in sorted({self.state.stage(cell) for cell in waiting}):
            cells = [cell for cell in waiting if self.state.stage(cell) == number]
            extra = {**self.resources.slurm, **({"dependency": f"afterany:{before}"} if before else {})}
            self.executor.update_parameters(slurm_additional_parameters=extra)
            batches = list(self._batches(cells))
            submitted = self.executor.submit_array(batches)
            self.jobs |= {name: one for batch, one in zip(batches, submitted) for name in batch.tasks}
            before = submitted[0].job_id.split("_")[0]
        files.write_json(self.state.spec.folder / NUMBERS, {name: one.job_id for name, one in self.jobs.items()})
        return waiting

    def _batches(self, cells: list[Cell]) -> Iterator[Batch]:
        """The cells of a stage, divided into jobs in their order."""
        each = self.resources.cells_per_job or -(-len(cells) // LONGEST)
        given = {"OMP_NUM_THREADS": str(self.resources.cpus)}
        for start in range(0, len(cells), each):
            tasks = {cell.name: cell.task(self.state.by_name) for cell in cells[start : start + each]}
            log = self.folder / f"{self.state.stage(cells[0])}-{start}.txt"
            yield Batch(tasks, given, log, self.resources.cells_per_process)

    def wait(self, seconds: float) -> None:
        """Wait that long."""
        time.sleep(seconds)

    def close(self) -> None:
        """Do nothing: SLURM ends its jobs itself."""

    def _find_running(self) -> None:
        """Take over jobs of an earlier sweep that still wait or run."""
        from submitit import SlurmJob

        known = runs.read(self.state.spec.folder / NUMBERS)
        states = (job_states() or {}) if known else {}
        jobs = {number: SlurmJob(self.folder, number) for number in set(known.values()) if states.get(number) in LIVING}
        running = {name: jobs[number] for name, number in known.items() if number in jobs}
        self.jobs |= {name: one for name, one in running.items() if name in self.state.by_name}

    def ended(self) -> list[tuple[Cell, int | None]]:
        """Cells that have ended since the last call, each with its exit code; None for one that was killed.

        The code is ``CANCELLED`` if a person cancelled its job. Asks SLURM at most every ``STATUS_EVERY`` seconds.

        Raises:
            RunError: submitit could not run a job.
        """
        if self.jobs and time.monotonic() - self._asked > STATUS_EVERY:
            self._asked = time.monotonic()
            self._ask()
        ended = {one.job_id for one in set(self.jobs.values()) if one.paths.result_pickle.exists()}
        over: dict[str, int | None] = {}
        for name, one in self.jobs.items():
            if one.job_id in ended or self._absent[one.job_id] >= GONE_AFTER:
                cancelled = one.job_id not in ended and self._states.get(one.job_id) == "CANCELLED"
                over[name] = CANCELLED if cancelled else _code(one, name)
        self.jobs = {name: one for name, one in self.jobs.items() if name not in over}
        return [(self.state.by_name[name], code) for name, code in over.items()]

    def _ask(self) -> None:
        states = job_states()
        if states is not None:
            self._states = states
            for number in {one.job_id for one in self.jobs.values()}:
                self._absent[number] = 0 if states.get(number) in LIVING else self._absent[number] + 1

    def stop(self) -> None:
        """Do nothing: submitted jobs go on, and the next sweep in the folder finds them."""


def job_states() -> dict[str, str] | None:
    """States of this user's jobs by id, with a job per array task; None if SLURM does not answer.

    Asks ``squeue``, which works on clusters without accounting.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", "--me", "--format=%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return dict(line.split()[:2] for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else None


def signal_delay(minutes: int) -> int:
    """Seconds before a job's time is up at which SLURM signals it: 120, or a fifth of the time if that is less."""
    return max(1, min(120, 12 * minutes))


def _code(submitted: Any, name: str) -> int | None:
    """The exit code of a cell whose job is over, None if it was killed; RunError if submitit could not run the job."""
    if not submitted.paths.result_pickle.exists():
        return None
    error = submitted.exception()
    if error is not None and "Job not requeued" not in str(error):
        raise RunError(f"job {submitted.job_id} could not run: {str(error).strip().splitlines()[-1]}")
    return None if error is not None else submitted.result()[name]
