"""A process that runs cells one after the other, so that libraries and data are loaded once: ``python -m sweep.serve``.

Every cell runs in a process forked off this one. Whatever the cell changes (seeds, flags of torch, the current folder)
does not affect later cells, nor does a crash. This process then imports the modules and keeps the data that the cell
had to load, so that the next cell finds them. Where processes cannot be forked, every cell starts a Python of its own.

Tasks come in on standard input as lines of JSON with ``script``, ``argv``, ``folder`` and ``inputs``, see
``sweep.grid.Cell.task``. The answer to each is a line of JSON: ``codes`` are the exit codes of its cells, see
``sweep.job.Job``; ``last`` is true if this process ends after it. A task may hold further ones under ``with``, which
are trained together with it in one forked process (``sweep.alike``).
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import json
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

from sweep import alike
from sweep.job import OUTPUT, PAUSE, WAITING, Job, over, python, stopped
from utils import cache, lock, preempt
from utils.errors import leave
from utils.plugins import plugin_packages
from utils.preempt import RESUMABLE

FORKS = sys.platform == "linux"  # elsewhere libraries may have started threads that a fork would lose
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
STARTS_PROCESSES = ("torch._inductor", "triton")  # importing these starts processes, which forks would share
PROJECT = Path(__file__).resolve().parent.parent


class ForkedJob(Job):
    """A ``Job`` whose command runs in a process forked off this one.

    Args:
        script: "main_forget.py" for example.
        argv: its command line.
        folder: where the cell writes.
        inputs: files that must exist.
        replies: where this process answers; the forked one closes it.
    """

    def __init__(self, script: str, argv: list[str], folder: Path, inputs: list[Path], replies: IO[str]):
        super().__init__(python(PROJECT / script, argv), folder, inputs, {})
        self._script, self._argv, self._replies = script, argv, replies

    def _start(self, output: IO[bytes]) -> Forked:
        return Forked(functools.partial(_run, self._script, self._argv), output, self._replies)


class Forked:
    """A function called in a process forked off this one, with the part of ``subprocess.Popen`` that ``Job`` uses.

    Args:
        work: the function; it returns the exit code.
        output: where the process writes its standard output and error.
        replies: where this process answers; the forked one closes it.
    """

    def __init__(self, work: Callable[[], int], output: IO[bytes], replies: IO[str]):
        self.returncode: int | None = None
        self._found = os.memfd_create("found")
        gc.freeze()  # else a collection in the child would write to pages that it shares with this process
        known = set(sys.modules)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                _detach(output, replies)
                code = work()
                _hand_over(self._found, known)
            finally:
                leave(code)

    def poll(self) -> int | None:
        """The exit code; minus the signal's number if one ended the process; None while it runs."""
        if self.returncode is None:
            process, status = os.waitpid(self.pid, os.WNOHANG)
            if process:
                self.returncode = os.waitstatus_to_exitcode(status)
                _take_over(self._found)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send the process the signal with this number."""
        os.kill(self.pid, number)


class ForkedGroup:
    """Cells of one script that are trained together, in one process forked off this one.

    If the process is killed, all of its cells count as killed.

    Args:
        script: of all cells, "main_forget.py" for example.
        tasks: the cells' tasks.
        jobs: a job for each task, for its lock and status.
        replies: where this process answers; the forked one closes it.
    """

    def __init__(self, script: str, tasks: list[dict[str, Any]], jobs: list[Job], replies: IO[str]):
        self._script, self._tasks, self._jobs, self._replies = script, tasks, jobs, replies
        self._child: Forked | None = None
        self._stopping = self._passed_on = False

    def __call__(self) -> list[int]:
        """Run the cells; an exit code for each, see ``Job.__call__``."""
        codes = [RESUMABLE if all(path.exists() for path in job.inputs) else WAITING for job in self._jobs]
        started, present = time.time(), [number for number, code in enumerate(codes) if code != WAITING]
        with lock.scope():
            for number in present:
                self._jobs[number].wait_for_others()
            while not self._stopping and (left := [number for number in present if stopped(codes[number])]):
                for number, code in zip(left, self._run(left)):
                    codes[number] = code
            for number in present:
                self._jobs[number].note(codes[number], seconds=round(time.time() - started, 1))
        return [RESUMABLE if stopped(code) else code for code in codes]

    def stop(self) -> None:
        """Ask the cells to stop where they can be resumed."""
        self._stopping = True
        for job in self._jobs:  # one may be waiting for another process that runs its cell
            job.stop()
        if self._child is not None and not over(self._child.pid):
            self._passed_on = True
            self._child.send_signal(signal.SIGTERM)

    def _run(self, numbers: list[int]) -> list[int]:
        jobs, tasks = [self._jobs[number] for number in numbers], [self._tasks[number] for number in numbers]
        for job in jobs:
            job.note(None)
        descriptor = os.memfd_create("codes")

        def work() -> int:
            try:
                os.write(descriptor, json.dumps(alike.run(self._script, tasks)).encode())
                return 0
            except Exception:  # noqa: BLE001  (an uncaught error would end the process with its traceback too)
                traceback.print_exc()
                return 1

        with (jobs[0].folder / OUTPUT).open("ab") as output, os.fdopen(descriptor, "rb") as codes:
            self._child = Forked(work, output, self._replies)
            if self._stopping and not self._passed_on:  # signalled while the process was being started
                self.stop()
            while self._child.poll() is None:
                time.sleep(PAUSE)
            codes.seek(0)
            content = codes.read()
        code, self._child = self._child.returncode, None
        return json.loads(content) if content else [code or 1] * len(jobs)


def _detach(output: IO[bytes], replies: IO[str]) -> None:
    """Make a forked process like one that a shell starts: its own output, no input, default signal handlers."""
    ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
    for number in preempt.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    os.close(replies.fileno())


def _run(script: str, argv: list[str]) -> int:
    """Run a script's ``main`` as ``python script`` would; its exit code."""
    sys.argv = [str(PROJECT / script), *argv]
    try:
        return importlib.import_module(script.removesuffix(".py")).main(list(argv))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001  (an uncaught error would end the process with its traceback too)
        traceback.print_exc()
        return 1


def _hand_over(file: int, known: set[str]) -> None:
    """Write to ``file`` which modules this cell imported, other than ``known``, and the data that it read."""
    plugins = plugin_packages()
    modules = [name for name in sys.modules if name not in known and name.partition(".")[0] not in plugins]
    modules = [name for name in modules if not name.startswith(STARTS_PROCESSES)]
    with os.fdopen(file, "wb") as stored, suppress(Exception):  # not every data set can be pickled
        pickle.dump(modules, stored)
        pickle.dump(cache.new(), stored, protocol=pickle.HIGHEST_PROTOCOL)


def _take_over(file: int) -> None:
    """Import the modules and keep the data that a cell's ``_hand_over`` wrote to ``file``."""
    with os.fdopen(file, "rb") as stored, suppress(Exception):  # a killed cell wrote less; later cells load the rest
        stored.seek(0)
        for name in pickle.load(stored):
            with suppress(Exception):
                importlib.import_module(name)
        cache.keep(pickle.load(stored))


class Server:
    """Answers tasks until there are no more, or until a new process should replace this one.

    Args:
        replies: where answers go.
        max_cells: tasks to run before this process is replaced; 1 starts each cell in a Python of its own.
    """

    def __init__(self, replies: IO[str], max_cells: int):
        self._replies, self._left, self._forks = replies, max_cells, FORKS and max_cells > 1
        self._job: Job | ForkedGroup | None = None
        self._stopping = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: ask the running cell to stop where it can be resumed, and take no other."""
        self._stopping = True
        if self._job is None:
            os._exit(preempt.RESUMABLE)
        self._job.stop()

    def serve(self, tasks: IO[str]) -> None:
        """Run the tasks, one a line, and answer each."""
        if self._forks:
            plugin_packages()  # once, for all cells
            cache.begin()
        while self._left and not self._stopping and (line := tasks.readline()):
            self._left -= 1
            codes = self._answer(json.loads(line))
            last = not self._left or self._stopping or cache.grown()
            self._left = 0 if last else self._left
            print(json.dumps({"codes": codes, "last": last}), file=self._replies, flush=True)

    def _answer(self, task: dict[str, Any]) -> list[int]:
        tasks = [task, *task.get("with", [])]
        if self._forks:
            _warm_up(task["script"])
        jobs = [self._alone(each) for each in tasks]
        codes = []
        if self._forks and len(jobs) > 1:
            self._job = ForkedGroup(task["script"], tasks, jobs, self._replies)
            codes = self._job()
        else:
            for self._job in jobs:
                codes.append(RESUMABLE if self._stopping else self._job())
        self._job = None
        return codes

    def _alone(self, task: dict[str, Any]) -> Job:
        """The job that runs one cell."""
        script, argv, folder = task["script"], task["argv"], Path(task["folder"])
        inputs = [Path(path) for path in task["inputs"]]
        if self._forks:
            return ForkedJob(script, argv, folder, inputs, self._replies)
        return Job(python(PROJECT / script, argv), folder, inputs, {})


def _warm_up(script: str) -> None:
    """Import what every run of a script needs. Errors are ignored: the cell meets and reports them itself."""
    with suppress(Exception):
        importlib.import_module(importlib.import_module(script.removesuffix(".py")).SCRIPT.module)
        from utils.environment import environment

        environment()


def main(max_cells: int) -> None:
    """Answer tasks from standard input on standard output.

    Anything else that is printed goes to standard error, so that it does not mix with the answers.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(replies, max_cells)
    for number in preempt.SIGNALS:
        signal.signal(number, server.on_signal)
    server.serve(sys.stdin)
    leave(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
