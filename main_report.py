#!/usr/bin/env python3
"""Tables and plots in the paper's layout from the ``result.json`` files below a folder.

    python main_report.py runs/demo
    python main_report.py runs/table1 runs/table1-reference --out tables
    rsync -a cluster:project/runs/ runs/ && python main_report.py runs

One table per data set, architecture, scenario, split and --compat: gap to Retrain in brackets, average gap,
number of seeds, and what was published of it. Each is printed and written as Markdown, CSV and LaTeX, with its
pictures as PNG and SVG; report.html shows all of them in one page. Runs of a sweep that are missing or failed
are named.
"""
from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from evaluation import corrections, planned, published, results, tables
from utils import files
from utils.errors import UsageError, leave, script
from utils.options import Parser


@script
def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="main_report.py", description="Tables and plots from the result.json files below a folder.")
    parser.add_argument("folders", metavar="DIR", nargs="+", help="folder that holds the runs, at any depth; several are merged")
    parser.add_argument("--out", metavar="DIR", default=None, help="where to write (default: the first folder)")
    parser.add_argument("--no_plots", action="store_true", help="tables only")
    typed = parser.read(argv)
    folders = [Path(folder) for folder in typed["folders"]]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
    found = results.collect(*folders)
    if not found:
        raise UsageError(f"{folders[0]}: no finished result of main_forget.py below it")
    report(folders, found, Path(typed["out"] or folders[0]), plots=not typed["no_plots"])
    return 0


def report(folders: list[Path], found: list[results.Found], out: Path, plots: bool) -> None:
    """Print and write everything that can be said of these runs."""
    from evaluation.page import page

    made = results.tables(found)
    lost = planned.place(made, planned.collect(folders, found))
    papers = planned.papers(folders)
    sections = [write_table(table, published.beside(table, papers), found, out, plots) for table in made]
    sections += [write_corrections(pair, out) for pair in corrections.pairs(made)]
    if plots:
        sections += write_trainings(folders, out)
    sections += name_lost(lost)
    files.write_text(out / "report.html", page(", ".join(folder.resolve().name for folder in folders), sections))
    print(f"written: {out / 'report.html'}, and each table as .md, .csv and .tex" + (", each picture as .png and .svg" if plots else ""), flush=True)


def write_table(table: results.Table, known: published.Published, found: list[results.Found], out: Path, plots: bool) -> Any:
    """Print one table, write it in three formats and draw it."""
    from evaluation.page import Section

    head, rows = tables.paper_table(table, known)
    notes = tables.notes(table, known)
    section = Section(table.title, head, rows, notes)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(tables.long_rows(table, known))
    files.write_text(out / f"{table.slug}.csv", text.getvalue())
    files.write_text(out / f"{table.slug}.tex", tables.latex(table, known))
    write_section(section, out / f"{table.slug}.md")
    if plots:
        from evaluation import curves, overview
        from evaluation.plots import save

        drawn = overview.pictures(table) | {"curves": curves.draw_unlearning(table, found)}
        section.pictures = [save(out, f"{table.slug}-{name}", picture)[1] for name, picture in drawn.items() if picture is not None]
    return section


def write_section(section: Any, path: Path) -> None:
    """Print a table and write it as Markdown."""
    print(f"{section.title}\n\n{tables.aligned(section.head, section.rows)}\n", flush=True)
    notes = "".join(f"\n{note}\n" for note in section.notes)
    files.write_text(path, f"{section.title}\n\n{tables.markdown(section.head, section.rows)}{notes}")


def write_corrections(pair: corrections.Pair, out: Path) -> Any:
    """Print and write what ``--compat`` changes."""
    from evaluation.page import Section

    section = Section(pair.title, *corrections.table(pair), [corrections.NOTE])
    write_section(section, out / f"{pair.slug}.md")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([section.head, *section.rows])
    files.write_text(out / f"{pair.slug}.csv", text.getvalue())
    return section


def write_trainings(folders: list[Path], out: Path) -> list[Any]:
    """Draw the curves of every training."""
    from evaluation import curves
    from evaluation.page import Section
    from evaluation.plots import save

    drawn = [save(out, name, curves.draw_training(title, runs))[1] for name, (title, runs) in curves.trainings(folders).items()]
    return [Section("Training curves", pictures=drawn)] if drawn else []


def name_lost(lost: list[planned.Planned]) -> list[Any]:
    """Name planned runs of scenarios of which nothing has finished."""
    from evaluation.page import Section

    if not lost:
        return []
    lines = [f"{cell.folder}: {'failed: ' + str(cell.status.get('last_line')) if cell.failed else 'missing'}" for cell in lost]
    print("\n".join(["nothing of these scenarios has finished:", *lines, ""]), flush=True)
    return [Section("Nothing of these scenarios has finished", notes=lines)]


if __name__ == "__main__":
    leave(main())
