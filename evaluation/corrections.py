"""What the corrections change: the same runs under ``--compat fixed`` and ``--compat reference`` side by side. Imports neither torch nor numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evaluation.results import METRICS, Cell, Table
from evaluation.tables import UNEQUAL, percent


@dataclass(frozen=True)
class Pair:
    """Two tables that differ in nothing but ``--compat``."""

    fixed: Table
    reference: Table

    @property
    def slug(self) -> str:
        return f"{self.fixed.slug}-corrections"

    @property
    def title(self) -> str:
        return f"{self.fixed.title}: what the corrections change"


def pairs(tables: list[Table]) -> list[Pair]:
    """Every table under ``fixed`` with its twin under ``reference``."""
    twins = {_but_compat(table): table for table in tables if table.key["compat"] == "reference"}
    return [
        Pair(table, twins[key])
        for table in tables
        if table.key["compat"] == "fixed" and (key := _but_compat(table)) in twins
    ]


def _but_compat(table: Table) -> str:
    return repr(sorted((name, str(value)) for name, value in table.key.items() if name != "compat"))


NOTE = (
    "Per cent, mean ± standard deviation over the seeds: --compat reference, which repeats what published numbers were made with, then "
    f"--compat fixed; in brackets fixed minus reference. {UNEQUAL}: they differ by more than the combined spread."
)


def table(pair: Pair) -> tuple[list[str], list[list[str]]]:
    """Head and rows: for every method and model the four metrics and the average gap, reference → fixed (difference)."""
    rows = []
    for name in pair.fixed.rows:
        for model in (model.name for model in pair.fixed.models):
            if pair.fixed.runs(name, model) and pair.reference.runs(name, model):
                cells = [
                    _change(pair.reference.cell(name, model, metric), pair.fixed.cell(name, model, metric))
                    for metric in METRICS
                ]
                gaps = [side.average_gap(name, model) for side in (pair.reference, pair.fixed)]
                cells.append(
                    "-"
                    if None in gaps
                    else f"{percent(gaps[0])} → {percent(gaps[1])} ({100 * (gaps[1] - gaps[0]):+.2f})"
                )
                rows.append(
                    [name, model, *cells, f"{pair.reference.runs(name, model)}, {pair.fixed.runs(name, model)}"]
                )
    return ["method", "model", *METRICS, "avg. gap", "n"], rows


def _change(before: Cell | None, after: Cell | None) -> str:
    if before is None or after is None:
        return "-"
    both = [percent(cell.mean) + (f"±{100 * cell.std:.2f}" if len(cell.values) > 1 else "") for cell in (before, after)]
    spread = math.hypot(before.std, after.std)
    several = min(len(before.values), len(after.values)) > 1
    mark = f" {UNEQUAL}" if several and abs(after.mean - before.mean) > spread + 1e-12 else ""
    return f"{both[0]} → {both[1]} ({100 * (after.mean - before.mean):+.2f}){mark}"
