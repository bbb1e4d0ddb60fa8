"""Results of ``main_transfer.py`` as a table: accuracies and run times against the number of removed classes.

Imports neither torch nor numpy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from evaluation.results import Cell
from evaluation.rows import by_method, model_name
from evaluation.tables import minutes, percent
from utils.names import file_name

ACCURACIES = {"source": "source %", "forget": "removed %", "target": "target %"}  # fractions in [0, 1]
TIMES = {"unlearning": "unlearning (min)", "probing": "probing (min)"}  # seconds


@dataclass
class Transfer:
    """From one data set to another, by one architecture and one way to probe.

    Attributes:
        title: in words.
        slug: starts file names.
        lines: by method and model ("l1-sparse, dense"), by number of removed classes, by metric; several
            seeds share a cell.
    """

    title: str
    slug: str
    lines: dict[str, dict[int, dict[str, Cell]]] = field(default_factory=dict)


def tables(results: Iterable[dict[str, Any]]) -> list[Transfer]:
    """One table per source, target, architecture, probe and ``--compat``, from one result per number of removed classes."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if "removed" in result:
            model, target = result["model"], result["config"]["target"]
            key = json.dumps(
                [model["dataset"], target, model["arch"], result["config"]["probe"], result["compat"]], sort_keys=True
            )
            groups.setdefault(key, []).append(result)
    return [_table(group) for _, group in sorted(groups.items())]


def _table(results: list[dict[str, Any]]) -> Transfer:
    first = results[0]
    dataset, arch, target, probe = (
        first["model"]["dataset"],
        first["model"]["arch"],
        first["target"]["name"],
        first["config"]["probe"]["probe"],
    )
    compat = "" if first["compat"] == "fixed" else f"-{first['compat']}"
    how = {"linear": "new head on frozen features", "full": "everything fine-tuned"}.get(probe, probe)
    title = f"{dataset} to {target}, {arch}: {how}" + (f" (compat {first['compat']})" if compat else "")
    table = Transfer(title, file_name(f"transfer-{dataset}-{target}-{arch}-{probe}{compat}"))
    for name, members in by_method(results).items():
        for sparsity in sorted({result["model"]["sparsity"] for result in members}):
            runs = [result for result in members if result["model"]["sparsity"] == sparsity]
            counts = sorted({result["removed"]["count"] for result in runs})
            table.lines[f"{name}, {model_name(sparsity)}"] = {
                count: _cells([result for result in runs if result["removed"]["count"] == count]) for count in counts
            }
    return table


def _cells(runs: list[dict[str, Any]]) -> dict[str, Cell]:
    found = {}
    for group, metrics in (("accuracy", ACCURACIES), ("seconds", TIMES)):
        for metric in metrics:
            values = tuple(run[group][metric] for run in runs if run[group][metric] is not None)
            if values:
                found[metric] = Cell(values)
    return found


def layout(table: Transfer) -> tuple[list[str], list[list[str]]]:
    """Head and rows for people: per cent and minutes, with the deviation over seeds where there are several."""
    head = ["unlearning", "classes removed", *ACCURACIES.values(), *TIMES.values()]
    rows = []
    for name, points in table.lines.items():
        for count, cells in points.items():
            accuracies = [_percent(cells.get(metric)) for metric in ACCURACIES]
            times = [minutes(cells[metric].mean / 60 if metric in cells else None) for metric in TIMES]
            rows.append([name, str(count), *accuracies, *times])
    return head, rows


def _percent(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    return percent(cell.mean) + (f"±{100 * cell.std:.2f}" if len(cell.values) > 1 else "")


def long_rows(table: Transfer) -> list[list[str]]:
    """The table as plain rows for a CSV file: fractions and seconds, unrounded."""
    lines = [["unlearning", "classes_removed", "metric", "mean", "std", "runs"]]
    for name, points in table.lines.items():
        for count, cells in points.items():
            for metric, cell in cells.items():
                named = metric if metric in ACCURACIES else f"{metric}_seconds"
                lines.append([name, str(count), named, repr(cell.mean), repr(cell.std), str(len(cell.values))])
    return lines
