#!/usr/bin/env python3
"""Tables and plots in the paper's layout from the ``result.json`` files below a folder.

    python main_report.py runs/demo
    python main_report.py runs/cifar10 --out tables

One table per data set, architecture and scenario: gap to Retrain in brackets, average gap last.
Each is printed and written as Markdown, CSV and a PNG bar chart.
"""
from __future__ import annotations

import csv
import io
from pathlib import Path

from evaluation import results, tables
from utils import files
from utils.errors import UsageError, leave, script
from utils.options import Parser


@script
def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="main_report.py", description="Tables and plots from the result.json files below a folder.")
    parser.add_argument("folder", metavar="DIR", help="folder that holds the runs, at any depth")
    parser.add_argument("--out", metavar="DIR", default=None, help="where to write (default: the same folder)")
    typed = parser.read(argv)
    folder = Path(typed["folder"])
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    found = results.tables(results.collect(folder))
    if not found:
        raise UsageError(f"{folder}: no finished result of main_forget.py below it")
    for table in found:
        write(table, Path(typed["out"]) if typed["out"] else folder)
    return 0


def write(table: results.Table, folder: Path) -> None:
    """Print a table and write it in three formats."""
    from evaluation import plots

    head, rows = tables.paper_table(table)
    print(f"{table.title}\n\n{tables.aligned(head, rows)}\n", flush=True)
    files.write_text(folder / f"{table.slug}.md", f"{table.title}\n\n{tables.markdown(head, rows)}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(tables.long_rows(table))
    files.write_text(folder / f"{table.slug}.csv", text.getvalue())
    plots.paper_bars(folder / f"{table.slug}.png", table)
    print(f"written: {folder / table.slug}.md, .csv and .png\n", flush=True)


if __name__ == "__main__":
    leave(main())
