"""Starts processes of ``sweep.serve``, gives them cells to run, and reads their answers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sweep.job import last_line
from utils import files
from utils.errors import RunError
from utils.preempt import RESUMABLE

PROJECT = Path(__file__).resolve().parent.parent


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Environment variables for a process that imports from the project, not from the current folder.

    ``PYTHONSAFEPATH`` keeps the current folder off the import path; Python 3.10 ignores it. ``SUBMITIT_EXECUTOR``,
    which marks this process as started by submitit, is not passed on.

    Args:
        variables: further variables, which take precedence.
    """
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    inherited = {name: value for name, value in os.environ.items() if name != "SUBMITIT_EXECUTOR"}
    return {**inherited, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", **variables}


class Worker:
    """One process of ``sweep.serve`` at a time. A new one is started for the next cell when the last has ended.

    Args:
        variables: environment variables to set, which decide the process's threads and GPUs.
        log: where the process writes errors of its own.
        max_cells: tasks that one process runs; 1 starts each cell in a Python of its own.
    Attributes:
        busy: whether it was given a task whose answer has not been read.
    """

    def __init__(self, variables: dict[str, str], log: Path, max_cells: int):
        self._variables, self._log, self._max_cells = variables, log, max_cells
        self._process: subprocess.Popen | None = None
        self._cells = 0
        self.busy = False

    def start(self, task: dict[str, Any]) -> None:
        """Give the process a task: a cell, or several to train together; see ``sweep.serve``."""
        self._cells = 1 + len(task.get("with", ()))
        if self._process is None or self._process.poll() is not None:
            self._begin()
        with suppress(BrokenPipeError):  # the process ended between two cells; ``answers`` tells how
            self._pipe("stdin").write(json.dumps(task) + "\n")
            self._pipe("stdin").flush()
        self.busy = True

    def answer(self) -> int | None:
        """The exit code of a task's first cell, see ``answers``."""
        return self.answers()[0]

    def answers(self) -> list[int | None]:
        """The exit codes of the task's cells, None for those that were killed. Waits until they have ended.

        Raises:
            RunError: the process itself ended with an error.
        """
        line = self._pipe("stdout").readline()
        self.busy = False
        if line.endswith("\n"):
            answer = json.loads(line)
            if answer["last"]:
                self._end()
            return answer["codes"]
        code = self._end()
        if code > 0 and code != RESUMABLE:
            raise RunError(f"a process that runs cells ended with code {code}: {last_line(self._log)}")
        return [RESUMABLE if code in (RESUMABLE, -signal.SIGTERM) else None] * self._cells

    @property
    def over(self) -> bool:
        """Whether it runs no task, or its task has ended."""
        return not self.busy or bool(select.select([self], [], [], 0)[0])

    def fileno(self) -> int:
        """The file descriptor of the answers, readable once the task has ended; for ``select``."""
        return self._pipe("stdout").fileno()

    def stop(self) -> None:
        """Ask the process to stop its cell where it can be resumed. Does not wait."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End the process if it runs no task."""
        if self._process is not None and not self.busy:
            self._end()

    def _begin(self) -> None:
        files.make_folder(self._log.parent)
        words = [sys.executable, "-u", "-m", "sweep.serve", str(self._max_cells)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(self._variables),
                text=True,
                start_new_session=True,  # Ctrl-C is for the sweep, which stops it in order
            )

    def _end(self) -> int:
        assert self._process is not None, "it has begun"
        with suppress(BrokenPipeError):  # closing flushes a task that the process ended too early to read
            self._pipe("stdin").close()
        with self._process as process:  # leaving the block closes the pipes and waits for the process
            self._process = None
        return process.returncode

    def _pipe(self, name: str) -> IO[str]:
        return getattr(self._process, name)
