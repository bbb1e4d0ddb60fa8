#!/usr/bin/env python3
"""How much the demo's average gaps change with seeds, threads and processors: prints Markdown, writes a CSV file.

    python experiments/demo_stability.py results/demo/stability.csv README=runs/demo "other seeds"=runs/demo-others ...

All folders hold runs of ``demo.yaml`` or of a file that extends it. The others are compared with the first.
"""

from __future__ import annotations

import statistics
import sys
from itertools import combinations
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from report import comparison, runs, text  # noqa: E402
from utils import files  # noqa: E402

Place = tuple[str, str, str]  # scenario, model, method
Gaps = dict[Place, tuple[float, float]]  # average gap and the standard deviation of the single seeds' gaps, in points
CLOSE = 3.0  # points; gaps that differ by no more are a tie


def gaps(folder: Path) -> Gaps:
    """The average gap to Retrain, with its standard deviation over seeds, of every method and model in a folder."""
    found = {}
    for table in comparison.tables(runs.collect([folder]).runs_of("main_forget.py")):
        for row, model in ((row, model.name) for model in table.models for row in table.rows):
            if row not in ("Original", "Retrain"):
                spread = statistics.pstdev(table.by_seed(row, model).values())
                found[table.key["kind"], model, row] = 100 * table.average_gap(row, model), 100 * spread
    return found


def moved(first: Gaps, other: Gaps) -> dict[Place, float]:
    """The absolute difference of each average gap between two folders, in points."""
    return {where: abs(gap - other[where][0]) for where, (gap, _) in first.items()}


def swapped(first: Gaps, other: Gaps) -> list[tuple[str, str, str, str]]:
    """Pairs of methods whose order by average gap differs between two folders, without pairs that tie in ``first``.

    Returns:
        Scenario, model, and the two methods, the one nearer to Retrain in ``first`` before the other.
    """
    found = []
    for one, two in combinations(first, 2):
        if one[:2] == two[:2] and abs(first[one][0] - first[two][0]) > CLOSE:
            near, far = sorted((one, two), key=lambda where: first[where][0])
            if other[near][0] >= other[far][0]:
                found.append((*near[:2], near[2], far[2]))
    return found


def table(named: dict[str, Gaps]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table in points: gaps of each folder, the first's deviation over seeds, the largest change.

    Args:
        named: gaps by the folder's name.
    """
    first, *others = named.values()
    head = ["scenario", "model", "method", *named, "sd over seeds", "largest change"]
    rows = []
    for where, (_, spread) in first.items():
        change = max((moved(first, other)[where] for other in others), default=0.0)
        rows.append([*where, *(f"{found[where][0]:.2f}" for found in named.values()), f"{spread:.2f}", f"{change:.2f}"])
    return head, rows


def words(named: dict[str, Gaps]) -> str:
    """A summary of the table in words: a line for each folder but the first, with the largest change and the order."""
    (_, first), *others = named.items()
    lines = []
    for name, other in others:
        where, change = max(moved(first, other).items(), key=lambda item: item[1])
        order = "; ".join(f"{far} before {near} ({kind}, {model})" for kind, model, near, far in swapped(first, other))
        order = f"order differs: {order}" if order else "order as in the first"
        lines.append(f"{name}: largest change {change:.2f} points ({', '.join(where)}); {order}")
    return "\n".join(lines)


if __name__ == "__main__":
    out, *listed = sys.argv[1:]
    named = {name: gaps(Path(folder)) for name, folder in (word.split("=", 1) for word in listed)}
    head, rows = table(named)
    csv = pd.DataFrame(rows, columns=head).to_csv(index=False, lineterminator="\n")
    files.write_text(Path(out), csv)
    print(f"{text.markdown(head, rows)}\n{words(named)}")
