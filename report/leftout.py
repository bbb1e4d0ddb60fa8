"""What lies below a report's folders and stands in none of its tables. Imports neither torch nor pandas."""

from __future__ import annotations

from typing import Any

from report.runs import SHAPES, Collection, Run, check
from utils.errors import one_line

TRAINED = (
    "main_imp.py",
    "main_synflow.py",
    "main_saliency.py",
    "main_generate.py",
)  # write results that no table needs


def left_out(found: Collection) -> list[str]:
    """One line for each thing that is passed over, and why.

    These are what reading found on its way, results that tables do not know, and copies of a run whose scores are not
    those in the table.
    """
    lines = list(found.remarks)
    taken: dict[str, tuple[Run, Any]] = {}
    for run in found.runs:
        script, status, mark = (run.content.get(key) for key in ("script", "status", "fingerprint"))
        if script not in (*SHAPES, *TRAINED):
            named = f"of {script}" if isinstance(script, str) else "it names no script"
            lines.append(f"{run.path}: is no result that tables know ({named})")
        elif status not in ("done", "failed"):
            lines.append(f"{run.path}: is not finished (status {status})")
        elif status == "done" and script in SHAPES and isinstance(mark, str):
            first, scores = taken.setdefault(mark, (run, _scores(run.content)))
            if scores != _scores(run.content):
                lines.append(f"{run.path}: is the run of {first.path} with other scores; the table has the latter's")
    return [one_line(line) for line in lines]


def failures(found: Collection) -> list[str]:
    """One line for each run of any script whose numbers went wrong, and why.

    Raises UsageError: a result does not say why.
    """
    failed = [run for run in found.runs if run.failed]
    for run in failed:
        check(run.content, {"reason": str}, run.path)
    return [f"{run.folder}: {run.content['reason']}" for run in failed]


def _scores(content: dict[str, Any]) -> Any:
    """The scores but for times, which no two runs share."""
    scores = content.get("scores")
    return {name: value for name, value in scores.items() if name != "RTE"} if isinstance(scores, dict) else scores
