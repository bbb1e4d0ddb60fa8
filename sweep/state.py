"""The state of a sweep's cells (done, failed or missing), read from their folders."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

from report.runs import MANIFEST, STATUS, read
from sweep.grid import PROJECT, Cell, script_of, stage
from sweep.spec import Spec
from utils import files, lock
from utils.errors import RunError, UsageError


class State:
    """Knows which cells are done, failed or missing.

    A cell is done if its folder holds a finished result with the fingerprint of its command. The fingerprint covers
    everything that decides the run's numbers, including the contents of the checkpoint that it reads.
    """

    def __init__(self, spec: Spec, cells: list[Cell], notes: bool = False):
        """Start without looking at any folder.

        Args:
            notes: whether to note in a cell's ``status.json`` that it was found done, which saves comparing
                fingerprints the next time.
        """
        self.spec, self.cells, self._notes = spec, cells, notes
        self.by_name = {cell.name: cell for cell in cells}
        self._done: set[str] = set()
        self._seen: dict[str, float] = {}

    def add(self, cells: list[Cell]) -> None:
        """Add further cells, those of trials for example."""
        self.cells = self.cells + [cell for cell in cells if cell.name not in self.by_name]
        self.by_name |= {cell.name: cell for cell in cells}

    def stage(self, cell: Cell) -> int:
        """The cell's stage, 1 for one that needs no other; see ``sweep.grid.stage``."""
        return stage(cell, self.by_name)

    def done(self, cell: Cell) -> bool:
        """Whether the cell and all cells that it needs are done. Once true, it stays true."""
        if (
            cell.name not in self._done
            and all(self.done(self.by_name[name]) for name in cell.needs)
            and self._has_new_result(cell)
        ):
            status = self.status(cell)
            if status.get("compared") == compared(cell):
                self._done.add(cell.name)
            elif finished(cell):
                self.mark(cell)
        return cell.name in self._done

    def known_done(self, cell: Cell) -> bool:
        """Whether an earlier call found the cell done. Looks at no file."""
        return cell.name in self._done

    def _has_new_result(self, cell: Cell) -> bool:
        """Whether the cell's result is new since the last call. Comparing it is slow: it reads a checkpoint."""
        try:
            written = (cell.folder / "result.json").stat().st_mtime
        except OSError:
            return False
        before, self._seen[cell.name] = self._seen.get(cell.name), written
        return before != written

    def count(self, cells: list[Cell]) -> int:
        """How many of these are known to be done."""
        return sum(cell.name in self._done for cell in cells)

    def status(self, cell: Cell) -> dict[str, Any]:
        """The cell's ``status.json``, empty before the first attempt.

        Its ``status`` is "running", "done", "failed", "killed" or "interrupted".
        """
        return read(cell.folder / STATUS)

    def failed(self, cell: Cell) -> bool:
        """Whether the last attempt ended with an error, or the cell was given up."""
        return self.status(cell).get("status") == "failed"

    def mark(self, cell: Cell) -> None:
        """Take the cell as done: its command has just succeeded, or its folder holds its finished result."""
        self._done.add(cell.name)
        if self._notes and cell.folder.is_dir():
            files.write_json(cell.folder / STATUS, {**self.status(cell), "compared": compared(cell)})

    def note_failure(self, cell: Cell, code: int | None) -> None:
        """Write to the cell's ``status.json`` that it failed, for jobs that were killed before they could.

        Args:
            code: its exit code; None if it was killed.
        """
        files.make_folder(cell.folder)
        files.write_json(cell.folder / STATUS, {**self.status(cell), "status": "failed", "code": code})

    def write_manifest(self) -> None:
        """Write the list of all runs to the sweep's folder, from which reports know the missing ones."""
        listed = [
            {"name": cell.name, "folder": cell.name, **cell.facts, "needs": list(cell.needs), "command": cell.command}
            for cell in self.cells
        ]
        spec = self.spec
        named = {"name": str(spec.folder), "title": spec.title, "paper": spec.paper, "file": str(spec.file)}
        content = {**named, "cells": listed}
        files.write_json(self.spec.folder / f"{self.spec.file.stem}{MANIFEST}", content)


def finished(cell: Cell) -> bool:
    """Whether the cell's folder or its ``earlier/*`` holds a finished result with the fingerprint of its command."""
    stored = [cell.folder / "result.json", *sorted(cell.folder.glob("earlier/*/result.json"))]
    marks = {content.get("fingerprint") for path in stored if (content := read(path)).get("status") == "done"} - {None}
    return bool(marks) and expected(cell) in marks


def compared(cell: Cell) -> str:
    """16 hex digits that change with anything that decides whether a cell is done.

    These are its command, the project's code, its result, and the files that the command names. Files enter by size
    and modification time, which ``rsync -a`` keeps.
    """
    named = [word for word in cell.argv[:-1] if os.sep in word or "." in word]
    stats = [(name, state.st_size, state.st_mtime_ns) for name in named if (state := _stat(Path(name)))]
    result = _stat(cell.folder / "result.json")
    content = [cell.script, cell.argv[:-1], _code(), stats, result and (result.st_size, result.st_mtime_ns)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


@functools.cache
def _code() -> str:
    """A digest of the project's code: changed code may make another fingerprint of the same command."""
    packages = [path.parent for path in PROJECT.glob("*/__init__.py")]
    sources = sorted([*PROJECT.glob("*.py"), *(path for package in packages for path in package.rglob("*.py"))])
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def expected(cell: Cell) -> str | None:
    """The fingerprint that the cell's run would have now; None if its script would refuse to run."""
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            return script_of(cell).identity([*cell.argv, "--device", "cpu"])
        except (UsageError, RunError):
            return None


def keep_others_out(folder: Path) -> None:
    """Lock a folder against other sweeps until this process ends.

    Raises:
        RunError: another sweep is at work there.
    """
    files.make_folder(folder)
    other = lock.take(folder, lock.SWEEP)
    if other is not None:
        raise RunError(f"{folder}: another main_sweep.py is at work there ({other})")
