"""Which tables and pictures a report has, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import (
    agreement,
    attack_columns,
    backdoor_table,
    claims,
    comparison,
    contrasts,
    deviations,
    further,
    marks,
    missing,
    nearer,
    paper_values,
    ranking,
    transfer_table,
)
from report.attack_columns import Attacked
from report.claim_file import Claim
from report.comparison import Table
from report.latex import latex
from report.page import Section
from report.paper_table import EXPLAINED, long_table, notes, paper_table
from report.runs import Collection
from report.settings import HEAD, settings_of
from report.writer import Report
from utils import files
from utils.errors import UsageError

if TYPE_CHECKING:
    from pandas import DataFrame

Cells = tuple[list[str], list[list[str]]]  # head and rows


def add_unlearning(
    report: Report,
    collection: Collection,
    folders: list[Path],
    scores: list[str],
    with_settings: bool,
    stated: list[Claim],
) -> None:
    """Add everything about runs of ``main_forget.py``: tables, rankings, claims, and lists of missing and failed runs.

    Args:
        folders: searched for ``attack.json`` files of population attacks, which give further columns.
        scores: names of scores beside the paper's, for a further table.
        with_settings: whether each row lists its hyper-parameters.
        stated: claims to judge by the runs; may be empty.
    Raises:
        UsageError: a file lacks what a table needs.
    """
    runs = collection.runs_of("main_forget.py", failed=True)
    tables = comparison.tables(runs)
    planned = missing.planned_runs(collection, {run.content["fingerprint"] for run in runs})
    lost = missing.note_missing(tables, planned)
    papers, attacked = missing.papers(collection), attack_columns.read(folders)
    for table in tables:
        _add_paper_table(report, table, paper_values.matching(table, papers), with_settings, attacked)
        _add_beside(report, table, "what sparsity changes", "sparsity", contrasts.effect(table), contrasts.SPARSITY)
        head, rows, pairs, note = nearer.against_nearest(table)
        _add_beside(report, table, "which method is nearer to Retrain", "nearer", (head, rows), note, pairs)
        nested = deviations.nested(table)
        _add_beside(report, table, "what the deviation comes from", "deviation", nested, deviations.NOTE)
        order = agreement.order(table, attacked)
        _add_beside(report, table, "do scores order the methods alike", "agreement", order, agreement.NOTE)
        if scores:
            _add_scores(report, table, scores)
    for fixed, reference in contrasts.pairs(tables):
        changes = contrasts.changes(fixed, reference)
        _add_beside(report, fixed, "what the corrections change", "corrections", changes, contrasts.CORRECTIONS)
    for group in ranking.groups(tables):
        note = ranking.NOTE.format(unit=group.units.level)
        report.add(Section(group.title, *ranking.order(group), [note], slug=group.slug))
    if stated and tables:
        report.add(claims.section(stated, tables, planned))
    elif stated:
        print("claims: no finished run of main_forget.py to judge them by\n", flush=True)
    title = "nothing of these scenarios has finished"
    lines = [f"{cell.folder}: {f'failed: {cell.last_line}' if cell.failed else 'missing'}" for cell in lost]
    report.say(f"{title}:", title.capitalize(), lines)
    report.say("failed:", "Failed runs", missing.failures(collection))


def _add_paper_table(
    report: Report, table: Table, published: paper_values.Published, with_settings: bool, attacked: list[Attacked]
) -> None:
    head, rows = paper_table(table, published)
    settings, best = settings_of(table), marks.best(table)
    section = Section(
        table.title,
        head,
        rows,
        notes(table, published) + ([marks.NOTE] if best else []),
        best=best,
        warnings=marks.warnings(table),
        explained=EXPLAINED,
        runs=(HEAD, settings.lines),
        runs_note=settings.note,
        slug=table.slug,
        long=long_table(table, published),
    )
    attack_columns.add(section, table, attacked)
    if with_settings:
        section.head = [*section.head, "settings"]
        section.rows = [[*row, settings.rows.get(row[0], "")] for row in section.rows]
        section.notes += [settings.note] if settings.note else []
    report.add(section)
    remarks = section.warnings + section.notes
    text = latex(table, published, best, settings.rows if with_settings else None, remarks)
    files.write_text(report.out / f"{table.slug}.tex", text)
    if report.plots:
        report.draw(section, {f"-{name}": picture for name, picture in _pictures(table).items()})


def _add_beside(
    report: Report, table: Table, words: str, suffix: str, cells: Cells, note: str, long: DataFrame | None = None
) -> None:
    """Add a further table of the runs in ``table``, unless it has no rows.

    Args:
        words: appended to the title of ``table``.
        suffix: appended to its file name.
        long: the table's content for its CSV file, if other than ``cells``.
    """
    head, rows = cells
    if rows:
        report.add(Section(f"{table.title}: {words}", head, rows, [note], slug=f"{table.slug}-{suffix}", long=long))


def _pictures(table: Table) -> dict[str, Any]:
    """Figures by name, without those for which the table has too few runs or models."""
    from report import cost, curves, overview
    from report.plots import HATCHES

    rows = table.tried()
    pictures: dict[str, Any] = {}
    if table.cells and len(table.models) <= len(HATCHES):
        pictures["bars"] = overview.bars(table)
    if any(table.average_gap(row, model.name) is not None for row in rows for model in table.models):
        pictures |= {"glance": overview.glance(table), "cost": cost.cost(table)}
    families = overview.families(table) if table.cells else {}
    for pruner, models in families.items():
        name = f"sparsity-{pruner}" if len(families) > 1 else "sparsity"
        pictures[name] = overview.against_sparsity(table, models, pruner)
    if (drawn := curves.draw_unlearning(table)) is not None:
        pictures["curves"] = drawn
    return pictures


def _add_scores(report: Report, table: Table, scores: list[str]) -> None:
    """Add a table of scores beside the paper's, or print that no run has them."""
    head, rows = further.scores_table(table, scores)
    if len(head) == 1:
        print(f"{table.title}: no run has {', '.join(scores)}\n", flush=True)
    else:
        _add_beside(report, table, "further scores", "scores", (head, rows), further.note(head, scores))


def add_others(report: Report, collection: Collection) -> None:
    """Add the tables of runs of ``main_backdoor.py`` and ``main_transfer.py``."""
    for kind, script in ((backdoor_table, "main_backdoor.py"), (transfer_table, "main_transfer.py")):
        for table in kind.tables([run.content for run in collection.runs_of(script)]):
            section = report.add(kind.section(table))
            if report.plots:
                report.draw(section, {"": kind.draw(table)})


def add_left_out(report: Report, collection: Collection, folder: Path) -> None:
    """Add the list of results that are in no table, and the curves of trainings.

    Args:
        folder: where results were searched, for the error message.
    Raises:
        UsageError: the report has no table.
    """
    lines = missing.left_out(collection)
    if not report.sections:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        left_out = f"; left out: {lines[0]}{more}" if lines else ""
        kinds = "main_forget.py, main_backdoor.py or main_transfer.py"
        raise UsageError(f"{folder}: no finished result of {kinds} below it{left_out}")
    report.say("left out:", "Left out", lines)
    if report.plots:
        _add_trainings(report, collection)


def _add_trainings(report: Report, collection: Collection) -> None:
    """Add a section with the curves of every training."""
    from report import curves

    section = Section("Training curves")
    for name, (title, runs) in curves.trainings(collection).items():
        report.draw(section, {name: curves.draw_training(title, runs)})
    if section.pictures:
        report.sections.append(section)
