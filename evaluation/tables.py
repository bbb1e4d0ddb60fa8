"""Tables for people, made from results alone. Imports neither torch nor numpy."""
from __future__ import annotations

from typing import Any


def aligned(head: list[str], rows: list[list[str]]) -> str:
    """Plain text columns: the first flush left, the others flush right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


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
