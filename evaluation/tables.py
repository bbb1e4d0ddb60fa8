"""Tables for people, made from results alone. Imports neither torch nor numpy."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.results import Table


def aligned(head: list[str], rows: list[list[str]]) -> str:
    """Plain text columns: the first flush left, the others flush right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def percent(fraction: float | None) -> str:
    """A fraction in [0, 1] as per cent with two decimals; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def minutes(value: float | None) -> str:
    """Minutes with three decimals; a dash for None."""
    return "-" if value is None else f"{value:.3f}"


def rounds(summaries: list[dict[str, Any]]) -> str:
    """The end of ``main_imp.py``: one line per round, in per cent."""
    head = ["round", "density %", "sparsity %", "best val %", "its test %", "last test %", "file of the best"]
    rows = [
        [
            str(found["round"]), f"{100 * found['density']:.2f}", f"{100 - 100 * found['density']:.2f}",
            *(f"{100 * found[key]:.2f}" for key in ("best_val", "test_of_best", "test_of_last")), found["best"],
        ]
        for found in summaries
    ]
    return aligned(head, rows)


def paper_cell(table: Table, row: str, model: str, metric: str) -> str:
    """``value±std (gap)`` in per cent, without the parts that there are not."""
    cell = table.rows[row].get(model, {}).get(metric)
    if cell is None:
        return "-"
    spread = f"±{100 * cell.std:.2f}" if len(cell.values) > 1 else ""
    gap = table.gap(row, model, metric)
    return percent(cell.mean) + spread + ("" if gap is None else f" ({100 * gap:.2f})")


def paper_table(table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows in the layout of the paper's Table 1: each metric for every model side by side.

    The gap to Retrain stands in brackets, the average gap of the four metrics and RTE come last.
    """
    from evaluation.results import METRICS

    columns = [(metric, model) for metric in METRICS for model in table.models]
    head = ["method", *(f"{metric} {model}" for metric, model in columns)]
    head += [f"avg. gap {model}" for model in table.models] + [f"RTE (min) {model}" for model in table.models]
    rows = []
    for name, models in table.rows.items():
        cells = [paper_cell(table, name, model, metric) for metric, model in columns]
        cells += [percent(table.average_gap(name, model)) for model in table.models]
        cells += [minutes(models[model]["RTE"].mean if "RTE" in models.get(model, {}) else None) for model in table.models]
        rows.append([name, *cells])
    return head, rows


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are right-aligned."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def long_rows(table: Table) -> list[list[str]]:
    """The table as plain rows for a CSV file: fractions and minutes, unrounded."""
    lines = [["table", "method", "model", "metric", "mean", "std", "seeds", "gap_to_retrain"]]
    for name, models in table.rows.items():
        for model, metrics in models.items():
            for metric, cell in metrics.items():
                gap = None if metric == "RTE" else table.gap(name, model, metric)
                lines.append(
                    [table.slug, name, model, metric, repr(cell.mean), repr(cell.std), str(len(cell.values)), "" if gap is None else repr(gap)]
                )
    return lines
