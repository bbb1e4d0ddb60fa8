"""Marks the best cell of each column of a table, and warns where Retrain is too poor to compare with.

Imports neither torch nor numpy.
"""

from __future__ import annotations

from report.comparison import Table
from report.paper_values import base
from report.runs import METRICS

GAP, TIME = "avg. gap", "RTE (min)"  # titles of columns
LEARNT = 0.9  # least accuracy of Retrain on its training images, below which there is a warning
Marks = frozenset[tuple[str, str]]  # row name and column title of each best cell
NOTE = (
    "Bold: the best of its column, nearest to Retrain or fastest; Original and Retrain are references and take no part."
)


def reference(row: str) -> bool:
    """Whether a row is a reference for the others: the original model, or retraining with any settings."""
    return base(row) == "Original" or base(row).startswith("Retrain")


def best(table: Table) -> Marks:
    """The cells with the smallest gap to Retrain or the smallest RTE of their column.

    Values are compared as rounded in the table, so that ties share the mark. A column has no mark if fewer than two
    methods have a value or all are equal; nor has RTE if it was taken on different machines.
    """
    marked: set[tuple[str, str]] = set()
    rows = [row for row in table.rows if not reference(row)]
    for model in (model.name for model in table.models):
        columns = {f"{metric} {model}": {row: table.gap(row, model, metric) for row in rows} for metric in METRICS}
        columns[f"{GAP} {model}"] = {row: table.average_gap(row, model) for row in rows}
        times = {row: cell for row in rows if (cell := table.cell(row, model, "RTE"))}
        if len(frozenset().union(*(cell.machines for cell in times.values()))) <= 1:
            # Gaps are shown with 4 decimals of the fraction, minutes with 3: divided by 10, both are rounded alike.
            columns[f"{TIME} {model}"] = {row: cell.mean / 10 for row, cell in times.items()}
        for title, values in columns.items():
            shown = {row: round(value, 4) for row, value in values.items() if value is not None}
            if len(set(shown.values())) > 1:
                marked |= {(row, title) for row, value in shown.items() if value == min(shown.values())}
    return frozenset(marked)


def warnings(table: Table) -> list[str]:
    """A sentence for each model without Retrain, and for each whose Retrain has learnt too little for gaps to count."""
    lines = []
    for model in (model.name for model in table.models):
        cells = {metric: table.cell("Retrain", model, metric) for metric in ("RA", "TA")}
        if cells["RA"] is None or cells["TA"] is None:
            lines.append(
                f"No Retrain on the {model} model, so no gaps there: main_forget.py --unlearn retrain makes it."
            )
            continue
        chance = 1 / table.classes if table.classes else 0.0
        reasons = []
        if cells["RA"].mean < LEARNT:
            reasons.append(f"RA {100 * cells['RA'].mean:.1f} % on the images that it was trained on")
        if cells["TA"].mean < chance + (1 - chance) / 10:
            reasons.append(f"TA {100 * cells['TA'].mean:.1f} %, where guessing gives {100 * chance:.1f} %")
        if reasons:
            lines.append(
                f"Retrain on the {model} model is poor ({'; '.join(reasons)}): "
                "it has learnt little, and gaps to it say little."
            )
    return lines
