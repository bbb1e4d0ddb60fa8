"""The finished runs that are compared, classifiers' and generators' alike. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import runs
from utils import files
from utils.errors import UsageError


def check_count(places: Sequence[str]) -> None:
    """Refuse a single run. Raises UsageError."""
    if len(places) < 2:
        raise UsageError(f"{places[0]}: is one run; give two or more, as the unlearned and the retrained model's")


def result_of(folder: Path, scripts: Sequence[str]) -> dict[str, Any]:
    """The ``result.json`` of a finished run of one of these scripts. Raises UsageError: there is none."""
    path = folder / "result.json"
    if not path.exists():
        raise UsageError(f"{folder}: no result.json there; give the folder of a finished run, or a checkpoint in it")
    result = runs.read_whole(path)
    if result.get("script") not in scripts:
        raise UsageError(f"{path}: is no result of {' or '.join(scripts)}; give one of theirs")
    if result.get("status") != "done":
        raise UsageError(f"{path}: its run {result.get('status', 'did not finish')}; give its command again")
    return result


def command_of(folder: Path) -> str:
    """The command of a run; empty if the file is gone."""
    path = folder / "command.txt"
    return files.read_text(path, str(path)).strip() if path.exists() else ""
