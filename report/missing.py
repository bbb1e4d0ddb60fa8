"""Finds what is in no table: missing cells of sweeps, runs that failed, and files that are passed over."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import row_names, runs
from report.comparison import MissingRuns, Table
from report.row_names import Model
from report.runs import SHAPES, Collection, Run, check
from utils.errors import one_line

# Scripts whose results belong in no table and are not reported as left out.
TRAINED = ("main_imp.py", "main_synflow.py", "main_saliency.py", "main_generate.py")
Places = dict[Any, tuple[str, list[str]]]  # row and models of a table, by fingerprint or by facts of a sweep's cell
FACTS = ("scenario", "method", "model")  # a cell's facts that determine its table, row and column


@dataclass(frozen=True)
class PlannedRun:
    """One cell of a sweep.

    Attributes:
        sweep: the sweep's name, equal on all machines that run parts of it.
        facts: the cell's entry in the sweep's list: ``name``, ``stage`` ("train" or "unlearn"), ``seed``, ``model``
            and more.
        folder: the cell's own.
        content: of the ``result.json`` in it; empty if there is none.
        finished: the fingerprint of its result if a table holds it; None if not.
        failed: whether its last attempt ended with an error.
        last_line: the last line that this attempt printed.
    """

    sweep: str
    facts: dict[str, Any]
    folder: Path
    content: dict[str, Any]
    finished: str | None
    failed: bool
    last_line: str

    def kind(self, *names: str) -> tuple:
        """The sweep's name and the facts of these names, a key under which similar cells are equal."""
        return self.sweep, *(self.facts.get(name) for name in names)


def planned_runs(collection: Collection, in_tables: set[str]) -> list[PlannedRun]:
    """All cells of the sweeps. Of a cell that several machines planned, the copy that finished is taken.

    Args:
        in_tables: fingerprints of the runs in tables.
    """
    contents = {os.path.realpath(run.folder): run.content for run in collection.runs}
    cells: dict[tuple[str, str], PlannedRun] = {}
    for path, plan in collection.plans.items():
        for facts in plan["cells"]:
            folder, status = path.parent / facts["folder"], runs.status_of(facts, path)
            content = contents.get(os.path.realpath(folder), {})
            finished = mark if (mark := content.get("fingerprint")) in in_tables else None
            failed = finished is None and status.get("status") == "failed"
            cell = PlannedRun(plan["name"], facts, folder, content, finished, failed, str(status.get("last_line")))
            first = cells.setdefault((cell.sweep, facts["command"]), cell)
            if first.finished is None and (finished or failed):
                cells[cell.sweep, facts["command"]] = cell
    return list(cells.values())


def papers(collection: Collection) -> list[str]:
    """The ``paper`` entries of the sweeps: starts of the names of published tables that they repeat."""
    return list(dict.fromkeys(plan["paper"] for plan in collection.plans.values() if plan.get("paper")))


def note_missing(tables: list[Table], cells: list[PlannedRun]) -> list[PlannedRun]:
    """Count in every table how many planned runs are missing and how many of those failed.

    Rows and models of which no run has finished are added to the table.

    Args:
        tables: changed in place.
        cells: what ``planned_runs`` returned.
    Returns:
        Cells that belong to no table, because no run of their scenario has finished.
    """
    unlearning = [cell for cell in cells if cell.facts["stage"] == "unlearn"]
    twins = {table: {fact: _twins(unlearning, table.places, fact) for fact in FACTS} for table in tables}
    lost = []
    for cell in unlearning:
        if cell.finished is not None:
            continue
        scenario, method, model_fact = (cell.kind("setting", fact) for fact in FACTS)
        table = next((table for table in tables if scenario in twins[table]["scenario"]), None)
        if table is None:
            lost.append(cell)
            continue
        same_row, same_model = twins[table]["method"].get(method), twins[table]["model"].get(model_fact)
        row = same_row[0] if same_row else _new_row(table, cell, unlearning)
        model = same_model[1][0] if same_model else _new_model(table, cell, cells)
        count = table.missing.setdefault((row, model), MissingRuns())
        count.missing += 1
        count.failed += cell.failed
    for table in tables:
        table.rows.sort(key=lambda name: (row_names.position(name), name))
    return lost


def _twins(cells: list[PlannedRun], places: Places, fact: str) -> Places:
    """Row and models of a table's finished runs, by the setting and the ``fact`` of their cells; the first counts."""
    twins: Places = {}
    for cell in cells:
        if cell.finished in places:
            twins.setdefault(cell.kind("setting", fact), places[cell.finished])
    return twins


def _new_row(table: Table, cell: PlannedRun, cells: list[PlannedRun]) -> str:
    """The row for a method of which no run has finished, added to the table if it is new."""
    paper = cell.facts["paper_name"]
    kind = cell.kind("paper_name")
    variants = {other.facts["method"] for other in cells if other.kind("paper_name") == kind}
    name = paper if len(variants) == 1 else f"{paper} ({cell.facts['method']})"
    if name not in table.rows:
        table.rows.append(name)
    return name


def _new_model(table: Table, cell: PlannedRun, cells: list[PlannedRun]) -> str:
    """The name of a model on which no run has finished, added to the table if it is new."""
    sparsity = _sparsity(cell, cells)
    name = cell.facts["model"] if sparsity is None else row_names.model_name(sparsity)
    if name not in [model.name for model in table.models]:
        table.models.append(Model(name, sparsity))
        table.models.sort(key=lambda model: 1.0 if model.sparsity is None else model.sparsity)
    return name


def _sparsity(cell: PlannedRun, cells: list[PlannedRun]) -> float | None:
    """The sparsity in [0, 1] of the cell's model, from its training's result; None if that is not there."""
    for other in cells:
        if other.sweep == cell.sweep and other.facts["name"] in cell.facts["needs"]:
            rounds = other.content.get("rounds", [])
            densities = [entry["density"] for entry in rounds if entry["round"] == cell.facts["round"]]
            return 1 - densities[0] if densities else None
    return None


def left_out(collection: Collection) -> list[str]:
    """One line for each file that is passed over, with the reason.

    These are the collection's remarks, results of unknown scripts, unfinished results, and copies of a run with other
    scores than those in the table.
    """
    lines = list(collection.remarks)
    taken: dict[str, tuple[Run, Any]] = {}
    for run in collection.runs:
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


def failures(collection: Collection) -> list[str]:
    """One line for each failed run of any script, with the reason, numbers that became infinite for example.

    Raises:
        UsageError: a result has no reason.
    """
    failed = [run for run in collection.runs if run.failed]
    for run in failed:
        check(run.content, {"reason": str}, run.path)
    return [f"{run.folder}: {run.content['reason']}" for run in failed]


def _scores(content: dict[str, Any]) -> Any:
    """The scores without RTE, which differs between copies of a run."""
    scores = content.get("scores")
    return {name: value for name, value in scores.items() if name != "RTE"} if isinstance(scores, dict) else scores
