"""What sparsity changes, the paper's claim: the gap to Retrain on the dense model minus that on a sparse one."""

from __future__ import annotations

from report.comparison import Cell, Table

NOTE = (
    "Average gap to Retrain on the dense model minus that on the sparse one, in points, for each seed by itself, then "
    "mean ± standard deviation; above 0, sparsity brings the method nearer to Retrain. Gaps are of single runs here, "
    "not of means over the seeds as in the table above."
)


def effect(table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows: each sparse model against the dense one, over the seeds with a gap on both; maybe no rows."""
    gaps, dense = table.seed_gaps, [model.name for model in table.models if model.sparsity == 0]
    if gaps.empty or not dense:
        return ["method"], []
    by_model = gaps.unstack("model").reindex(columns=[model.name for model in table.models])
    changes = by_model.rsub(by_model[dense[0]], axis=0)[[model.name for model in table.models if model.sparsity]]
    changes = changes.drop("Retrain", level="row").dropna(how="all").dropna(axis=1, how="all")
    found = set(changes.index.get_level_values("row"))
    head = ["method", *(title for model in changes for title in (f"{model}, by seed", f"{model}, mean"))]
    rows = []
    for row in filter(found.__contains__, table.rows):
        sides = [changes.loc[row][model].dropna().sort_index().tolist() for model in changes]
        rows.append([row, *(cell for side in sides for cell in _cells(side))])
    return head, rows


def _cells(differences: list[float]) -> tuple[str, str]:
    if not differences:
        return "-", "-"
    return ", ".join(f"{100 * value:+.2f}" for value in differences), Cell(tuple(differences)).text(form="+.2f")
