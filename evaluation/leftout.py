"""What lies below a report's folders and stands in none of its tables. Imports neither torch nor numpy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from evaluation import results
from utils.errors import one_line

TRAINED = ("main_imp.py", "main_synflow.py", "main_saliency.py")  # write results that no table needs


def left_out(folders: list[Path]) -> list[str]:
    """One line for each thing that is passed over, and why.

    These are folders that cannot be listed, links to nothing, trials of a search, results that tables do not know, and
    copies of a run whose scores are not those in the table.

    Raises:
        UsageError: names a ``result.json`` that is damaged.
    """
    lines: list[str] = []
    for here, names in results.walk(
        folders, lambda error: lines.append(f"{error.filename}: cannot be listed ({error.strerror})")
    ):
        for path in (here / name for name in names):
            if path.name == results.SEARCH and path.is_dir():
                lines.append(f"{path}: trials of a search; give this folder to see them")
            elif path.is_symlink() and not path.exists():
                lines.append(f"{path}: is a link to {os.readlink(path)}, which is not there")
    return [one_line(line) for line in lines + _results(folders)]


def _results(folders: list[Path]) -> list[str]:
    lines: list[str] = []
    taken: dict[str, tuple[Path, Any]] = {}
    for path in results.below(folders, "result.json"):
        content = results.read_whole(path)
        script, status = content.get("script"), content.get("status")
        if script not in (*results.SHAPES, *TRAINED):
            named = f"of {script}" if isinstance(script, str) else "it names no script"
            lines.append(f"{path}: is no result that tables know ({named})")
        elif status not in ("done", "failed"):
            lines.append(f"{path}: is not finished (status {status})")
        elif status == "done" and script in results.SHAPES and isinstance(content.get("fingerprint"), str):
            first, scores = taken.setdefault(content["fingerprint"], (path, _scores(content)))
            if scores != _scores(content):
                lines.append(f"{path}: is the run of {first} with other scores; the table has the latter's")
    return lines


def _scores(content: dict[str, Any]) -> Any:
    """The scores but for times, which no two runs share."""
    scores = content.get("scores")
    return {name: value for name, value in scores.items() if name != "RTE"} if isinstance(scores, dict) else scores
