"""Runs one cell's command as a child process, which can be stopped and resumed. Imports no torch."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import IO, Any

from report.runs import STATUS
from utils import files, lock
from utils.preempt import RESUMABLE, SIGNALS

OUTPUT = "output.txt"
WAITING = 69  # EX_UNAVAILABLE: a file that the command reads is not there
PATIENCE = 60  # seconds that a command has to stop, and a scheduler to end a job that it has signalled
PAUSE = 0.02  # seconds between checks of a running command


class Job:
    """Runs a command as its own process and says how it ended in ``status.json``.

    A command that stops by a signal is started again in the same job, unless the job itself was told to stop.

    Args:
        argv: the command.
        folder: where it writes; its output is appended to ``output.txt`` there.
        inputs: files that must exist; without one the command is not started.
        environment: environment variables to set for the command.
    """

    def __init__(self, argv: list[str], folder: Path, inputs: list[Path], environment: dict[str, str]):
        self.argv, self.folder, self.inputs, self.environment = argv, folder, inputs, environment
        self._child: Any = None
        self._stopping = self._passed_on = False

    def __call__(self) -> int:
        """Run the command and return its exit code.

        Returns:
            The code; minus the number of the signal that killed it; ``RESUMABLE`` if it was asked to stop and can go
            on; ``WAITING`` if an input is missing.
        """
        if any(not path.exists() for path in self.inputs):
            return WAITING
        started = time.time()
        with lock.scope():
            self.wait_for_others()
            code = RESUMABLE if self._stopping else self._run()
            while stopped(code) and not self._stopping:
                code = self._run()
            self.note(code, seconds=round(time.time() - started, 1))
        return RESUMABLE if stopped(code) else code

    def stop(self, number: int | None = None, frame: FrameType | None = None) -> None:
        """Ask the command to stop where it can be resumed. Can be installed as a signal handler."""
        self._stopping = True
        if self._child is not None and not over(self._child.pid):
            self._passed_on = True
            self._child.send_signal(signal.SIGTERM)

    def _run(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / OUTPUT).open("ab") as output:
            self.note(None)
            self._child = None
            self._child = self._start(output)
            if self._stopping and not self._passed_on:  # signalled while the command was being started
                self.stop()
            while self._child.poll() is None:  # not wait(), whose lock a signal handler could not get past
                time.sleep(PAUSE)
        return self._child.returncode

    def _start(self, output: IO[bytes]) -> Any:
        """The command, started."""
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )

    def wait_for_others(self) -> None:
        """Take the cell's lock, waiting while another process runs it, one that an earlier sweep left for example."""
        files.make_folder(self.folder)
        while not self._stopping and lock.take(self.folder, lock.CELL) is not None:
            time.sleep(1)

    def note(self, code: int | None, **more: Any) -> None:
        """Write ``status.json`` in the cell's folder.

        Args:
            code: the command's exit code; None while it runs.
            more: further entries.
        """
        status = "running" if code is None else "interrupted" if stopped(code) else "killed" if code < 0 else "failed"
        status = "done" if code == 0 else status
        job = os.environ.get("SLURM_JOB_ID") or os.getpid()
        facts = {"last_line": last_line(self.folder / OUTPUT), "host": platform.node(), "job": str(job)}
        content = {"status": status, "code": code, **facts, **more}
        files.write_json(self.folder / STATUS, content)


def stopped(code: int) -> bool:
    """Whether a command with this exit code ended because it was asked to stop, so that it can go on."""
    return code == RESUMABLE or -code in SIGNALS


def over(process: int) -> bool:
    """Whether the child with this process id has ended. Its exit code stays readable for whoever waits for it."""
    try:
        return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def last_line(path: Path) -> str:
    """The last line of a log that is not blank, cut to 300 characters; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def python(script: Path, argv: Iterable[str]) -> list[str]:
    """A script's command line with this interpreter, its output unbuffered."""
    return [sys.executable, "-u", str(script), *argv]
