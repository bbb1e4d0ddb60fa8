"""Results of ``main_transfer.py``: accuracies and run times against the number of removed classes.

matplotlib is imported only when a picture is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from report.comparison import Cell, cells_by
from report.page import Section
from report.row_names import by_method, model_name
from report.text import minutes
from report.writer import printed, write
from utils import files
from utils.names import file_name

ACCURACIES = {"source": "source %", "forget": "removed %", "target": "target %"}  # fractions in [0, 1]
TIMES = {"unlearning": "unlearning (min)", "probing": "probing (min)"}  # seconds
PANELS = {"source": "source, remaining classes", "target": "target", "unlearning": "unlearning"}


@dataclass
class TransferTable:
    """From one data set to another, by one architecture and one way to probe.

    Attributes:
        title: in words.
        slug: starts file names.
        cells: by method and model ("l1-sparse, dense"), by number of removed classes, by metric.
    """

    title: str
    slug: str
    cells: dict[str, dict[int, dict[str, Cell]]]

    def section(self) -> Section:
        """The table as it is printed and written."""
        return Section(self.title, *layout(self), slug=self.slug, long=long_table(self))


def tables(results: Iterable[dict[str, Any]]) -> list[TransferTable]:
    """One table per source, target, architecture, probe and ``--compat``, from a result per number of classes."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if "removed" in result:
            model, config = result["model"], result["config"]
            key = [model["dataset"], config["target"], model["arch"], config["probe"], result["compat"]]
            groups.setdefault(json.dumps(key, sort_keys=True), []).append(result)
    return [_table(group) for _, group in sorted(groups.items())]


def _table(results: list[dict[str, Any]]) -> TransferTable:
    first = results[0]
    dataset, arch = first["model"]["dataset"], first["model"]["arch"]
    target, probe = first["target"]["name"], first["config"]["probe"]["probe"]
    compat = "" if first["compat"] == "fixed" else first["compat"]
    how = {"linear": "new head on frozen features", "full": "everything fine-tuned"}.get(probe, probe)
    title = f"{dataset} to {target}, {arch}: {how}" + (compat and f" (compat {compat})")
    slug = f"transfer-{dataset}-{target}-{arch}-{probe}" + (compat and f"-{compat}")
    lines = []
    for name, members in by_method(results).items():
        for result in sorted(members, key=lambda result: (result["model"]["sparsity"], result["removed"]["count"])):
            place = f"{name}, {model_name(result['model']['sparsity'])}", result["removed"]["count"]
            lines += [(*place, metric, result["accuracy"][metric]) for metric in ACCURACIES]
            lines += [(*place, metric, result["seconds"][metric]) for metric in TIMES]
    by = ["line", "count", "metric"]
    cells: dict[str, Any] = {}
    for (line, count, metric), cell in cells_by(pd.DataFrame(lines, columns=[*by, "value"]), by).items():
        cells.setdefault(line, {}).setdefault(count, {})[metric] = cell
    return TransferTable(title, file_name(slug), cells)


def layout(table: TransferTable) -> tuple[list[str], list[list[str]]]:
    """Head and rows for people: per cent and minutes, with the deviation over seeds where there are several."""
    rows = []
    for name, points in table.cells.items():
        for count, cells in points.items():
            accuracies = [cells[metric].text() if metric in cells else "-" for metric in ACCURACIES]
            times = [minutes(cells[metric].mean / 60 if metric in cells else None) for metric in TIMES]
            rows.append([name, str(count), *accuracies, *times])
    return ["unlearning", "classes removed", *ACCURACIES.values(), *TIMES.values()], rows


def long_table(table: TransferTable) -> pd.DataFrame:
    """The table for a CSV file: fractions and seconds, unrounded."""
    lines = [
        (name, count, metric if metric in ACCURACIES else f"{metric}_seconds", cell.mean, cell.std, len(cell.values))
        for name, points in table.cells.items()
        for count, cells in points.items()
        for metric, cell in cells.items()
    ]
    return pd.DataFrame(lines, columns=["unlearning", "classes_removed", "metric", "mean", "std", "runs"])


def show(results: list[dict[str, Any]], folder: Path) -> None:
    """Print the table of one transfer and write it as transfer.md, transfer.csv and transfer.png."""
    [table] = tables(results)
    print(printed(table.section()), flush=True)
    write(table.section(), folder / "transfer")
    files.write_figure(folder / "transfer.png", draw(table))
    print(f"written: {folder / 'transfer'}.md, .csv and .png\n", flush=True)


def draw(table: TransferTable) -> Any:
    """Accuracy on source and target against the number of removed classes, and the minutes of unlearning.

    Bars are standard deviations over seeds.
    """
    from report.plots import figure

    drawn, axes = figure(3.6 * len(PANELS), 3.4, 1, len(PANELS))
    counts = sorted({count for points in table.cells.values() for count in points})
    for axis, (metric, title) in zip(axes[0], PANELS.items()):
        factor, unit = (100, "accuracy (%)") if metric in ACCURACIES else (1 / 60, "minutes")
        for number, (name, points) in enumerate(table.cells.items()):
            cells = {count: found[metric] for count, found in points.items() if metric in found}
            heights, spread = ([factor * getattr(cell, part) for cell in cells.values()] for part in ("mean", "std"))
            look = {"color": f"C{number}", "marker": "os^Dv"[number % 5], "capsize": 3, "label": name}
            axis.errorbar(list(cells), heights, spread, **look)
        axis.set(title=title, xlabel="source classes removed", ylabel=unit)
        axis.set_xticks(counts)
        axis.grid(alpha=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(handles), fontsize=8)
    drawn.suptitle(table.title, fontsize=10)
    return drawn
