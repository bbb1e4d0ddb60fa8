"""What sparsity changes, the paper's claim: each method's gap to Retrain on the dense model minus that on a sparse one, seed by seed. Imports neither torch nor numpy."""

from __future__ import annotations

import statistics

from evaluation.results import Table

NOTE = (
    "Average gap to Retrain on the dense model minus that on the sparse one, in points, for each seed by itself, then mean ± standard deviation; above 0, "
    "sparsity brings the method nearer to Retrain. Gaps are of single runs here, not of means over the seeds as in the table above."
)


def table(of: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows: each sparse model against the dense one, where both were retrained and unlearned with the same seeds; no rows where there are none."""
    dense = [model.name for model in of.models if model.sparsity == 0][:1]
    sparse = [model.name for model in of.models if model.sparsity > 0]
    found = {
        (row, model): differences
        for name in dense
        for model in sparse
        for row in of.rows
        if row != "Retrain" and (differences := _differences(of, row, name, model))
    }
    columns = [model for model in sparse if any(key[1] == model for key in found)]
    rows = [
        [row, *(cell for model in columns for cell in _cells(found.get((row, model))))]
        for row in of.rows
        if any((row, model) in found for model in columns)
    ]
    return ["method", *(title for model in columns for title in (f"{model}, by seed", f"{model}, mean"))], rows


def _differences(of: Table, row: str, dense: str, sparse: str) -> list[float]:
    """Gap on the dense minus gap on the sparse model, in [-1, 1], for every seed that has both, in order."""
    sides = [of.gaps_by_seed(row, model) for model in (dense, sparse)]
    return [sides[0][seed] - sides[1][seed] for seed in sorted(sides[0].keys() & sides[1].keys())]


def _cells(differences: list[float] | None) -> tuple[str, str]:
    if not differences:
        return "-", "-"
    spread = f"±{100 * statistics.pstdev(differences):.2f}" if len(differences) > 1 else ""
    return ", ".join(
        f"{100 * value:+.2f}" for value in differences
    ), f"{100 * statistics.fmean(differences):+.2f}{spread}"
