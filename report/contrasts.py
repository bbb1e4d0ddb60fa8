"""Compares ``--compat fixed`` with ``--compat reference``, and dense models with sparse ones."""

from __future__ import annotations

import json
import math

from report import paired
from report.comparison import Cell, Table
from report.paper_table import UNEQUAL
from report.runs import METRICS
from report.text import percent

MOST = 10  # seeds whose differences are listed one by one
Pair = tuple[Table, Table]  # with --compat fixed and --compat reference, else equal
CORRECTIONS = (
    "Per cent, mean ± standard deviation over the seeds: --compat reference, which repeats what published numbers were "
    f"made with, then --compat fixed; in brackets fixed minus reference. {UNEQUAL}: they differ by more than the "
    "combined spread."
)
SPARSITY = (
    "Average gap to Retrain on the dense model minus that on the sparse one, in points, for each seed by itself, then "
    "mean ± standard deviation; above 0, sparsity brings the method nearer to Retrain. Gaps are of single runs here, "
    "not of means over the seeds as in the table above."
)


def pairs(tables: list[Table]) -> list[Pair]:
    """The pairs of tables whose keys differ only in ``--compat``: "fixed" first, then "reference"."""
    twins = {_but_compat(table): table for table in tables if table.key["compat"] == "reference"}
    fixed = [table for table in tables if table.key["compat"] == "fixed"]
    return [(table, twins[_but_compat(table)]) for table in fixed if _but_compat(table) in twins]


def _but_compat(table: Table) -> str:
    return json.dumps({**table.key, "compat": None}, sort_keys=True)


def changes(fixed: Table, reference: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of what ``--compat`` changes: a row per method and model.

    Its columns are the four metrics and the average gap, each as ``reference → fixed (difference)``.
    """
    rows = []
    for name in fixed.rows:
        for model in (model.name for model in fixed.models):
            sides = reference, fixed
            counts = [side.runs(name, model) for side in sides]
            if all(counts):
                cells = [_change(*(side.cell(name, model, metric) for side in sides)) for metric in METRICS]
                before, after = (side.average_gap(name, model) for side in sides)
                gaps = "-"
                if before is not None and after is not None:
                    gaps = f"{percent(before)} → {percent(after)}{_points(after - before)}"
                rows.append([name, model, *cells, gaps, f"{counts[0]}, {counts[1]}"])
    return ["method", "model", *METRICS, "avg. gap", "n"], rows


def _change(before: Cell | None, after: Cell | None) -> str:
    if before is None or after is None:
        return "-"
    moved, several = after.mean - before.mean, min(len(before.values), len(after.values)) > 1
    mark = f" {UNEQUAL}" if several and abs(moved) > math.hypot(before.std, after.std) + 1e-12 else ""
    return f"{before.text()} → {after.text()}{_points(moved)}{mark}"


def _points(moved: float) -> str:
    return f" ({100 * moved:+.2f})"


def effect(table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of what sparsity changes: the average gap on the dense model minus that on a sparse one.

    There is a row per method and two columns per sparse model: the differences of the seeds that have a gap on both,
    and their mean. Without a dense model or a shared seed there are no rows.
    """
    dense = next((model.name for model in table.models if model.sparsity == 0), None)
    if dense is None:
        return ["method"], []
    names = [row for row in table.rows if row != "Retrain"]
    columns: dict[str, dict[str, list[float]]] = {}  # by model, by row
    for model in (model.name for model in table.models if model.sparsity):
        by_row = {row: paired.changes(table.by_seed(row, dense), table.by_seed(row, model)) for row in names}
        if any(by_row.values()):
            columns[model] = {row: list(by_seed.values()) for row, by_seed in by_row.items()}
    head = ["method", *(title for model in columns for title in (f"{model}, by seed", f"{model}, mean"))]
    shown = [row for row in names if any(by_row[row] for by_row in columns.values())]
    return head, [[row, *(cell for by_row in columns.values() for cell in _by_seed(by_row[row]))] for row in shown]


def _by_seed(differences: list[float]) -> tuple[str, str]:
    if not differences:
        return "-", "-"
    listed = ", ".join(f"{100 * value:+.2f}" for value in differences) if len(differences) <= MOST else "-"
    return listed, Cell(tuple(differences)).text(form="+.2f")
