#!/usr/bin/env python3
"""Tables and plots in the paper's layout from the ``result.json`` files below a folder.

    python main_report.py runs/demo
    python main_report.py runs/table1 runs/table1-reference --out tables --settings
    rsync -a cluster:project/runs/ runs/ && python main_report.py runs

One table per data set, architecture, scenario, split and --compat: gap to Retrain in brackets, average gap,
number of seeds, the best of each column, and what was published of it; what sparsity changes, seed by seed; with
--scores further scores; the methods in order of their gap over all scenarios and models; one table per poison
(main_backdoor.py) and per transfer (main_transfer.py). Each is printed and written as Markdown and CSV, the first kind
as LaTeX too, with its pictures as PNG and SVG; report.html shows all of them in one page, with the settings, commit and
day of every row. Runs of a sweep that are missing or failed are named, and so is what lies below DIR and stands in no
table. Links to folders and files are followed; a run counts once.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from evaluation import (
    cleanse,
    corrections,
    further,
    leftout,
    marks,
    planned,
    published,
    ranking,
    results,
    settings,
    sparsity,
    tables,
    transfer,
)
from evaluation.latex import latex
from evaluation.page import Section, page
from evaluation.plots import save
from utils import files
from utils.errors import UsageError, leave, script
from utils.options import Parser


@script
def main(argv: list[str] | None = None) -> int:
    wanted = parse(argv)
    folders, out, plots = wanted.folders, wanted.out, wanted.plots
    for folder in folders:
        if not folder.is_dir():
            reason = "is a file; give the folder that holds it" if folder.is_file() else "no such folder"
            raise UsageError(f"{folder}: {reason}")
    files.make_folder(out)
    sections = write_unlearning(wanted) + write_cleanses(folders, out, plots) + write_transfers(folders, out, plots)
    lines = leftout.left_out(folders)
    if not sections:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        beside = f"; left out: {lines[0]}{more}" if lines else ""
        kinds = "main_forget.py, main_backdoor.py or main_transfer.py"
        raise UsageError(f"{folders[0]}: no finished result of {kinds} below it{beside}")
    sections += name_lines("left out:", "Left out", lines)
    finish(folders, sections + (write_trainings(folders, out) if plots else []), out, plots)
    return 0


@dataclass(frozen=True)
class Wanted:
    """What a report is made of.

    Attributes:
        folders: to read.
        out: the folder to write to.
        plots: whether to draw.
        scores: names of scores beside the paper's, for a further table.
        settings: whether each row says what it was run with.
    """

    folders: list[Path]
    out: Path
    plots: bool
    scores: list[str]
    settings: bool


def parse(argv: list[str] | None) -> Wanted:
    """What was typed.

    Raises:
        UsageError: an unknown flag or score, or no folder.
    """
    parser = Parser(prog="main_report.py", description="Tables and plots from the result.json files below a folder.")
    parser.add_argument(
        "folders", metavar="DIR", nargs="+", help="folder that holds the runs, at any depth; several are merged"
    )
    parser.add_argument("--out", metavar="DIR", default=None, help="where to write (default: the first folder)")
    parser.add_argument("--no_plots", action="store_true", help="tables only")
    parser.add_argument(
        "--scores",
        metavar="NAME,NAME",
        default=None,
        help="a further table of these scores, or of all: " + ", ".join(further.SCORES),
    )
    text = "a last column with the hyper-parameters of each row; the page has them anyway"
    parser.add_argument("--settings", action="store_true", help=text)
    typed = parser.read(argv)
    folders = [Path(folder) for folder in typed["folders"]]
    scores = further.chosen(typed["scores"]) if typed["scores"] else []
    return Wanted(folders, Path(typed["out"] or folders[0]), not typed["no_plots"], scores, typed["settings"])


def write_unlearning(wanted: Wanted) -> list[Section]:
    """Print and write the tables of ``main_forget.py``'s runs, and what ``--compat`` changes."""
    folders, out, scores = wanted.folders, wanted.out, wanted.scores
    found = results.collect(folders, failed=True)
    made = results.tables(found)
    lost = planned.place(made, planned.collect(folders, found))
    papers = planned.papers(folders)
    sections = []
    for table in made:
        sections.append(write_table(table, published.beside(table, papers), found, wanted))
        sections += write_sparsity(table, out) + (write_further(table, found, scores, out) if scores else [])
    sections += [write_corrections(pair, out) for pair in corrections.pairs(made)] + [
        write_ranking(group, out) for group in ranking.groups(made)
    ]
    return sections + name_lost(lost) + name_failed(folders)


def finish(folders: list[Path], sections: list[Section], out: Path, plots: bool) -> None:
    """Write the page that shows all of them."""
    files.write_text(out / "report.html", page(", ".join(folder.resolve().name for folder in folders), sections))
    print(
        f"written: {out / 'report.html'}, and each table as .md, .csv and .tex"
        + (", each picture as .png and .svg" if plots else ""),
        flush=True,
    )


def write_table(
    table: results.Table, known: published.Published, found: list[results.Found], wanted: Wanted
) -> Section:
    """Print one table, write it in three formats and draw it."""
    head, rows = tables.paper_table(table, known)
    out = wanted.out
    given, best = settings.of(table, found), marks.best(table)
    section = Section(
        table.title,
        head,
        rows,
        tables.notes(table, known) + ([marks.NOTE] if best else []),
        best=best,
        warnings=marks.warnings(table),
        explained=tables.EXPLAINED,
        runs=(settings.HEAD, given.lines(table)),
        runs_note=given.note(),
    )
    if wanted.settings:
        section.head, section.rows = [*head, "settings"], [[*row, given.rows.get(row[0], "")] for row in rows]
        section.notes += [note for note in (given.note(),) if note]
    write_section(section, out, table.slug, tables.long_rows(table, known))
    last_column, remarks = given.rows if wanted.settings else None, section.warnings + section.notes
    files.write_text(out / f"{table.slug}.tex", latex(table, known, best, last_column, remarks))
    if wanted.plots:
        from evaluation import curves, overview

        drawn = overview.pictures(table) | {"curves": curves.draw_unlearning(table, found)}
        section.pictures = [
            save(out, f"{table.slug}-{name}", picture)[1] for name, picture in drawn.items() if picture is not None
        ]
    return section


def write_sparsity(table: results.Table, out: Path) -> list[Section]:
    """Print and write what sparsity changes, where there are dense and sparse models."""
    head, rows = sparsity.table(table)
    if not rows:
        return []
    section = Section(f"{table.title}: what sparsity changes", head, rows, [sparsity.NOTE])
    write_section(section, out, f"{table.slug}-sparsity", [head, *rows])
    return [section]


def write_further(table: results.Table, found: list[results.Found], scores: list[str], out: Path) -> list[Section]:
    """Print and write the scores beside the paper's, or say that no run has them."""
    head, rows = further.table(table, found, scores)
    if len(head) == 1:
        print(f"{table.title}: no run has {', '.join(scores)}\n", flush=True)
        return []
    section = Section(f"{table.title}: further scores", head, rows, [further.note(head, scores)])
    write_section(section, out, f"{table.slug}-scores", [head, *rows])
    return [section]


def write_section(section: Section, out: Path, slug: str, long_rows: list[list[str]]) -> None:
    """Print a table with its warnings and write it as Markdown and CSV."""
    warnings = [f"Warning: {line}" for line in section.warnings]
    print("\n".join([section.title, "", tables.aligned(section.head, section.rows), *warnings, ""]), flush=True)
    notes = "".join(f"\n{note}\n" for note in warnings + section.notes)
    table = tables.markdown(section.head, section.rows, section.best)
    files.write_text(out / f"{slug}.md", f"{section.title}\n\n{table}{notes}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(long_rows)
    files.write_text(out / f"{slug}.csv", text.getvalue())


def write_corrections(pair: corrections.Pair, out: Path) -> Section:
    """Print and write what ``--compat`` changes."""
    section = Section(pair.title, *corrections.table(pair), [corrections.NOTE])
    write_section(section, out, pair.slug, [section.head, *section.rows])
    return section


def write_ranking(group: ranking.Group, out: Path) -> Section:
    """Print and write the methods in order of their gap over all scenarios and models."""
    section = Section(group.title, *ranking.table(group), [ranking.NOTE])
    write_section(section, out, group.slug, [section.head, *section.rows])
    return section


def write_cleanses(folders: list[Path], out: Path, plots: bool) -> list[Section]:
    """Print, write and draw the tables of ``main_backdoor.py``'s runs."""
    made = cleanse.tables([one.content for one in results.collect(folders, "main_backdoor.py")])
    sections = []
    for table, slug in zip(made, distinct([table.slug for table in made])):
        sections.append(Section(table.title, *cleanse.layout(table), cleanse.notes(table)))
        write_section(sections[-1], out, slug, cleanse.long_rows(table))
        if plots:
            sections[-1].pictures.append(save(out, slug, cleanse.draw(table))[1])
    return sections


def write_transfers(folders: list[Path], out: Path, plots: bool) -> list[Section]:
    """Print, write and draw the tables of ``main_transfer.py``'s runs."""
    from evaluation.plots import transfer_curves

    made = transfer.tables([one.content for one in results.collect(folders, "main_transfer.py")])
    sections = []
    for table, slug in zip(made, distinct([table.slug for table in made])):
        sections.append(Section(table.title, *transfer.layout(table)))
        write_section(sections[-1], out, slug, transfer.long_rows(table))
        for kind in ("png", "svg") if plots else ():
            transfer_curves(out / f"{slug}.{kind}", table)
            sections[-1].pictures = [out / f"{slug}.{kind}"]
    return sections


def distinct(slugs: list[str]) -> list[str]:
    """The same names with a number behind those that occurred before, so that no table replaces another."""
    return [
        slug if (before := slugs[:place].count(slug)) == 0 else f"{slug}-{before + 1}"
        for place, slug in enumerate(slugs)
    ]


def write_trainings(folders: list[Path], out: Path) -> list[Section]:
    """Draw the curves of every training."""
    from evaluation import curves

    drawn = [
        save(out, name, curves.draw_training(title, runs))[1]
        for name, (title, runs) in curves.trainings(folders).items()
    ]
    return [Section("Training curves", pictures=drawn)] if drawn else []


def name_failed(folders: list[Path]) -> list[Section]:
    """Name the runs of any script whose numbers went wrong, and why."""
    lines = []
    for path in results.below(folders, "result.json"):
        found = results.Found(path.parent, results.read_whole(path))
        if found.failed:
            results.check(found.content, {"reason": str}, path)
            lines.append(f"{found.folder}: {found.content['reason']}")
    return name_lines("failed:", "Failed runs", lines)


def name_lines(said: str, title: str, lines: list[str]) -> list[Section]:
    """Print the lines and put them into a section; nothing where there are none."""
    if not lines:
        return []
    print("\n".join([said, *lines, ""]), flush=True)
    return [Section(title, notes=lines)]


def name_lost(lost: list[planned.Planned]) -> list[Section]:
    """Name planned runs of scenarios of which nothing has finished."""
    lines = [
        f"{cell.folder}: {'failed: ' + str(cell.status.get('last_line')) if cell.failed else 'missing'}"
        for cell in lost
    ]
    return name_lines("nothing of these scenarios has finished:", "Nothing of these scenarios has finished", lines)


if __name__ == "__main__":
    leave(main())
