"""What sweeps planned, beside what is there: cells that are missing and cells that failed. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import results, rows
from evaluation.results import Found, MissingRuns, Table
from evaluation.rows import Model

MANIFEST, STATUS = ".sweep.json", "status.json"  # ends a file in a sweep's folder; a file in each of its cells' folders


@dataclass(frozen=True)
class Planned:
    """One cell of a sweep.

    Attributes:
        sweep: names the sweep, on whatever machine it ran.
        facts: what the sweep says of the cell: ``name``, ``stage`` ("train" or "unlearn"), ``seed``, ``model``, ``command``, ...
        folder: the cell's own.
        found: its finished result; None if there is none.
        status: how its last attempt ended; empty if there was none.
    """

    sweep: str
    facts: dict[str, Any]
    folder: Path
    found: Found | None
    status: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether its last attempt failed by itself, not by being stopped."""
        return self.found is None and self.status.get("status") == "failed"


def collect(folders: list[Path], found: list[Found]) -> list[Planned]:
    """All cells of the sweeps below the folders; of one that several machines planned, the copy that finished."""
    by_fingerprint = {one.content["fingerprint"]: one for one in found}
    cells: dict[tuple[str, str], Planned] = {}
    for path in results.below(folders, f"*{MANIFEST}"):
        manifest = results.read_whole(path)
        results.check(manifest, {"name": str, "cells": list}, path)
        for facts in manifest["cells"]:
            check_facts(facts, path)
            place = path.parent / facts["folder"]
            done = by_fingerprint.get(results.read(place / "result.json").get("fingerprint"))
            cell = Planned(manifest["name"], facts, place, done, results.read(place / STATUS))
            known = cells.setdefault((cell.sweep, facts["command"]), cell)
            if known.found is None and (done or cell.failed):
                cells[cell.sweep, facts["command"]] = cell
    return list(cells.values())


def check_facts(facts: Any, path: Path) -> None:
    """Refuse a cell of a sweep that does not say what a table needs.

    Raises:
        UsageError: names the file and the entry.
    """
    cell = {"folder": str, "name": str, "command": str, "stage": str}
    unlearning = {"method": str, "paper_name": str, "model": str, "round": int, "needs": list}
    content = facts if isinstance(facts, dict) else {}
    results.check(content, cell | (unlearning if content.get("stage") == "unlearn" else {}), path)


def papers(folders: list[Path]) -> list[str]:
    """Names of the published tables that the sweeps below the folders say they repeat."""
    named = [results.read(path).get("paper") for path in results.below(folders, f"*{MANIFEST}")]
    return list(dict.fromkeys(name for name in named if name))


def place(tables: list[Table], cells: list[Planned]) -> list[Planned]:
    """Note in every table how many of its runs are missing and how many of those failed.

    Returns:
        Cells that belong to no table, because nothing of their scenario has finished.
    """
    unlearning = [cell for cell in cells if cell.facts["stage"] == "unlearn"]
    lost = []
    for cell in unlearning:
        if cell.found is not None:
            continue
        table = _table(tables, cell, unlearning)
        if table is None:
            lost.append(cell)
            continue
        gone = table.gone.setdefault(_row(table, cell, unlearning), {}).setdefault(
            _model(table, cell, cells), MissingRuns()
        )
        gone.missing += 1
        gone.failed += cell.failed
    for table in tables:
        table.rows = dict(sorted(table.rows.items(), key=lambda item: (rows.position(item[0]), item[0])))
    return lost


def _twins(cell: Planned, cells: list[Planned], *alike: str) -> list[str]:
    """Fingerprints of the sweep's finished cells that share these facts with ``cell``."""
    return [
        other.found.content["fingerprint"]
        for other in cells
        if other.found
        and other.sweep == cell.sweep
        and all(other.facts.get(name) == cell.facts.get(name) for name in alike)
    ]


def _table(tables: list[Table], cell: Planned, cells: list[Planned]) -> Table | None:
    twins = _twins(cell, cells, "setting", "scenario")
    return next((table for table in tables if any(twin in table.places for twin in twins)), None)


def _row(table: Table, cell: Planned, cells: list[Planned]) -> str:
    """The row that finished runs of the same method stand in, or a new one."""
    for twin in _twins(cell, cells, "setting", "method"):
        if twin in table.places:
            return table.places[twin][0]
    paper = cell.facts["paper_name"]
    variants = {
        other.facts["method"] for other in cells if other.sweep == cell.sweep and other.facts["paper_name"] == paper
    }
    name = paper if len(variants) == 1 else f"{paper} ({cell.facts['method']})"
    table.rows.setdefault(name, {})
    return name


def _model(table: Table, cell: Planned, cells: list[Planned]) -> str:
    """The column that finished runs on the same model stand in, or the one that its training tells, or a new one."""
    for twin in _twins(cell, cells, "setting", "model"):
        if twin in table.places:
            return table.places[twin][1][0]
    sparsity = _sparsity(cell, cells)
    name = cell.facts["model"] if sparsity is None else rows.model_name(sparsity)
    if name not in [model.name for model in table.models]:
        table.models.append(Model(name, sparsity))
        table.models.sort(key=lambda model: 1.0 if model.sparsity is None else model.sparsity)
    return name


def _sparsity(cell: Planned, cells: list[Planned]) -> float | None:
    """What the training of the cell's model says that it pruned."""
    for other in cells:
        if other.sweep == cell.sweep and other.facts["name"] in cell.facts["needs"]:
            rounds = results.read(other.folder / "result.json").get("rounds", [])
            densities = [found["density"] for found in rounds if found["round"] == cell.facts["round"]]
            return 1 - densities[0] if densities else None
    return None
