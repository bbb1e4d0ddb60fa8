"""Results of ``main_transfer.py``: accuracies and run times against the number of removed classes.

matplotlib is imported only when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from report.page import Section
from report.row_names import by_method, model_name
from report.series import SeriesTable, grouped, series
from report.text import minutes
from report.writer import printed, write
from utils import files

ACCURACIES = {"source": "source %", "forget": "removed %", "target": "target %"}  # fractions in [0, 1]
TIMES = {"unlearning": "unlearning (min)", "probing": "probing (min)"}  # seconds
SHARED = ("dataset", "target", "arch", "probe", "compat")  # what runs of one table share
PANELS = {"source": "source, remaining classes", "target": "target", "unlearning": "unlearning"}


def tables(results: Iterable[dict[str, Any]]) -> list[SeriesTable]:
    """One table per source, target, architecture, probe and ``--compat``.

    Args:
        results: contents of ``result.json`` files of ``main_transfer.py``, one per number of removed classes; results
            without such a number are passed over.
    Returns:
        Tables whose lines are methods and models ("l1-sparse, dense") and whose number is that of removed classes.
    """
    points = (result for result in results if "removed" in result)
    return [_table(dict(zip(SHARED, key)), group) for key, group in grouped(points, _shared)]


def _shared(result: dict[str, Any]) -> list[Any]:
    model, config = result["model"], result["config"]
    return [model["dataset"], config["target"], model["arch"], config["probe"], result["compat"]]


def section(table: SeriesTable) -> Section:
    """The table as a section of a report; its CSV file has times in seconds."""
    head = ["unlearning", "classes_removed", "metric", "mean", "std", "runs"]
    long = table.long(head, lambda metric: (f"{metric}_seconds" if metric in TIMES else metric,))
    return Section(table.title, *layout(table), slug=table.slug, long=long)


def _table(key: dict[str, Any], results: list[dict[str, Any]]) -> SeriesTable:
    dataset, target, arch, probe = key["dataset"], results[0]["target"]["name"], key["arch"], key["probe"]["probe"]
    probing = {"linear": "new head on frozen features", "full": "everything fine-tuned"}.get(probe, probe)
    values = []
    for name, members in by_method(results).items():
        for result in sorted(members, key=lambda result: (result["model"]["sparsity"], result["removed"]["count"])):
            place = f"{name}, {model_name(result['model']['sparsity'])}", result["removed"]["count"]
            numbers = result["accuracy"] | result["seconds"]
            values += [(*place, metric, numbers[metric]) for metric in (*ACCURACIES, *TIMES)]
    title = f"{dataset} to {target}, {arch}: {probing}"
    return series(title, f"transfer-{dataset}-{target}-{arch}-{probe}", key, values)


def layout(table: SeriesTable) -> tuple[list[str], list[list[str]]]:
    """Head and rows in per cent and minutes, with the standard deviation over seeds where there are several."""
    rows = []
    for name, points in table.cells.items():
        for count, cells in points.items():
            accuracies = [cells[metric].text() if metric in cells else "-" for metric in ACCURACIES]
            times = [minutes(cells[metric].mean / 60 if metric in cells else None) for metric in TIMES]
            rows.append([name, str(count), *accuracies, *times])
    return ["unlearning", "classes removed", *ACCURACIES.values(), *TIMES.values()], rows


def show(results: list[dict[str, Any]], folder: Path) -> None:
    """Print the table of one transfer and write it as transfer.md, transfer.csv and transfer.png.

    Args:
        results: of one source, target, architecture, probe and ``--compat``, so that they are one table.
        folder: where to write.
    """
    [table] = tables(results)
    print(printed(section(table)), flush=True)
    write(section(table), folder / "transfer")
    files.write_figure(folder / "transfer.png", draw(table))
    print(f"written: {folder / 'transfer'}.md, .csv and .png\n", flush=True)


def draw(table: SeriesTable) -> Any:
    """A figure of accuracy on source and target, and minutes of unlearning, against the number of removed classes.

    Error bars are one standard deviation over seeds.
    """
    from report.plots import figure

    drawn, axes = figure(3.6 * len(PANELS), 3.4, 1, len(PANELS))
    counts = sorted({count for points in table.cells.values() for count in points})
    for axis, (metric, title) in zip(axes[0], PANELS.items()):
        factor, unit = (100, "accuracy (%)") if metric in ACCURACIES else (1 / 60, "minutes")
        for number, (name, points) in enumerate(table.cells.items()):
            cells = {count: scores[metric] for count, scores in points.items() if metric in scores}
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
