"""The other end of ``sweep.serve``: a process that runs cells, seen from the one that hands them out."""

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
    """The variables of a process that imports from the project, not from the current folder.

    The current folder is left out from Python 3.11 on. What says that this process is submitit's is not true of others.

    Args:
        variables: further ones.
    """
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    inherited = {name: value for name, value in os.environ.items() if name != "SUBMITIT_EXECUTOR"}
    return {**inherited, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", **variables}


class Worker:
    """One such process at a time; another is started when there is a cell for it.

    Args:
        variables: environment variables to set, which decide its threads and GPUs.
        log: what it says beside the cells' own output.
        max_cells: cells that one process runs; 1 gives each a Python of its own.
    """

    def __init__(self, variables: dict[str, str], log: Path, max_cells: int):
        self._variables, self._log, self._max_cells = variables, log, max_cells
        self._process: subprocess.Popen | None = None
        self._cells = 0
        self.busy = False

    def start(self, task: dict[str, Any]) -> None:
        """Have it run a cell, or several; see ``sweep.serve`` for what a task holds."""
        self._cells = 1 + len(task.get("with", ()))
        if self._process is None or self._process.poll() is not None:
            self._begin()
        with suppress(BrokenPipeError):  # it ended between two cells; ``answer`` says how
            self._pipe("stdin").write(json.dumps(task) + "\n")
            self._pipe("stdin").flush()
        self.busy = True

    def answer(self) -> int | None:
        """The exit code of its cell; see ``answers``."""
        return self.answers()[0]

    def answers(self) -> list[int | None]:
        """The exit codes of its cells, which must have come to an end, as ``fileno`` tells; None if they were killed.

        Raises RunError: it cannot run at all.
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
        """Whether it runs no cell, or its cell has ended."""
        return not self.busy or bool(select.select([self], [], [], 0)[0])

    def fileno(self) -> int:
        """A descriptor that can be read once the cell has ended."""
        return self._pipe("stdout").fileno()

    def stop(self) -> None:
        """Have it stop its cell where that can go on; ``answer`` says when it has."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End it, if it runs nothing."""
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
        with suppress(BrokenPipeError):  # of a task that it did not live to read
            self._pipe("stdin").close()
        with self._process as process:  # which closes its pipes and waits for it
            self._process = None
        return process.returncode

    def _pipe(self, name: str) -> IO[str]:
        return getattr(self._process, name)
