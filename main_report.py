#!/usr/bin/env python3
"""Tables and plots in the paper's layout from the ``result.json`` files below a folder.

    python main_report.py runs/demo
    python main_report.py runs/cifar10 --out tables

One table per data set, architecture and scenario: gap to Retrain in brackets, average gap last; and one
per transfer from a data set to another: accuracies against the number of removed classes.
Each is printed and written as Markdown, CSV and a PNG picture.
"""
from __future__ import annotations

from functools import partial
from pathlib import Path

from evaluation import plots, results, tables, transfer
from evaluation.publish import publish
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
    out = Path(typed["out"]) if typed["out"] else folder
    papers = results.tables(results.collect(folder))
    transfers = transfer.tables(results.collect(folder, "main_transfer.py"))
    if not papers and not transfers:
        raise UsageError(f"{folder}: no finished result of main_forget.py or main_transfer.py below it")
    slugs = distinct([table.slug for table in [*papers, *transfers]])
    for table, slug in zip(papers, slugs):
        publish(out / slug, table.title, *tables.paper_table(table), tables.long_rows(table), partial(plots.paper_bars, table=table))
    for table, slug in zip(transfers, slugs[len(papers) :]):
        publish(out / slug, table.title, *transfer.layout(table), transfer.long_rows(table), partial(plots.transfer_curves, table=table))
    return 0


def distinct(slugs: list[str]) -> list[str]:
    """The same names with a number behind those that occurred before, so that no table replaces another."""
    return [slug if (before := slugs[:place].count(slug)) == 0 else f"{slug}-{before + 1}" for place, slug in enumerate(slugs)]


if __name__ == "__main__":
    leave(main())
