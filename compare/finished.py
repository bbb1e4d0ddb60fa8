"""Reads the finished runs to compare, of classifiers and of generators. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import runs
from utils import files
from utils.errors import UsageError


def check_count(places: Sequence[str]) -> None:
    """Raise a ``UsageError`` if there is a single run only."""
    if len(places) < 2:
        raise UsageError(f"{places[0]}: is one run; give two or more, as the unlearned and the retrained model's")


def result_of(folder: Path, scripts: Sequence[str]) -> dict[str, Any]:
    """The content of ``result.json`` in the folder of a finished run.

    Args:
        scripts: names of the scripts whose runs are accepted, "main_forget.py" for example.
    Raises:
        UsageError: there is no result, or it is damaged, unfinished or of another script.
    """
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
    """The command of a run, from ``command.txt`` in its folder; empty if the file is missing."""
    path = folder / "command.txt"
    return files.read_text(path, str(path)).strip() if path.exists() else ""
