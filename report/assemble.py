"""Which tables and pictures a report has, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report import (
    agreement,
    attack_columns,
    backdoor_table,
    claims,
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
from report.comparison import Table, tables
from report.latex import latex
from report.page import Section
from report.paper_table import EXPLAINED, long_table, notes, paper_table
from report.runs import Collection
from report.settings import HEAD, settings_of
from report.writer import Report
from utils import files
from utils.errors import UsageError


def add_unlearning(
    report: Report, found: Collection, folders: list[Path], scores: list[str], with_settings: bool, stated: list[Claim]
) -> None:
    """The tables of ``main_forget.py``'s runs, what ``--compat`` changes, rankings, claims, and what is missing.

    Args:
        folders: where ``attack.json`` of population attacks is looked for, for further columns.
        scores: names of scores beside the paper's, for a further table.
        with_settings: whether each row says what it was run with.
        stated: claims that the runs are to show; maybe none.
    """
    runs = found.of("main_forget.py", failed=True)
    made = tables(runs)
    planned = missing.planned_runs(found, {run.content["fingerprint"] for run in runs})
    lost = missing.note_missing(made, planned)
    papers, attacked = missing.papers(found), attack_columns.read(folders)
    for table in made:
        _add_paper_table(report, table, paper_values.matching(table, papers), with_settings, attacked)
        head, rows = contrasts.effect(table)
        if rows:
            title = f"{table.title}: what sparsity changes"
            report.add(Section(title, head, rows, [contrasts.SPARSITY], slug=f"{table.slug}-sparsity"))
        _add_seeds(report, table)
        head, rows = agreement.order(table, attacked)
        if rows:
            title, slug = f"{table.title}: do scores order the methods alike", f"{table.slug}-agreement"
            report.add(Section(title, head, rows, [agreement.NOTE], slug=slug))
        if scores:
            _add_scores(report, table, scores)
    for fixed, reference in contrasts.pairs(made):
        title, slug = f"{fixed.title}: what the corrections change", f"{fixed.slug}-corrections"
        report.add(Section(title, *contrasts.changes(fixed, reference), [contrasts.CORRECTIONS], slug=slug))
    for group in ranking.groups(made):
        report.add(
            Section(group.title, *ranking.order(group), [ranking.NOTE.format(unit=group.units.level)], slug=group.slug)
        )
    if stated and made:
        report.add(claims.section(stated, made, planned))
    elif stated:
        print("claims: no finished run of main_forget.py to judge them by\n", flush=True)
    title = "nothing of these scenarios has finished"
    lines = [f"{cell.folder}: {f'failed: {cell.last_line}' if cell.failed else 'missing'}" for cell in lost]
    report.say(f"{title}:", title.capitalize(), lines)
    report.say("failed:", "Failed runs", missing.failures(found))


def _add_paper_table(
    report: Report, table: Table, published: paper_values.Published, with_settings: bool, attacked: list[Attacked]
) -> None:
    head, rows = paper_table(table, published)
    given, best = settings_of(table), marks.best(table)
    section = Section(
        table.title,
        head,
        rows,
        notes(table, published) + ([marks.NOTE] if best else []),
        best=best,
        warnings=marks.warnings(table),
        explained=EXPLAINED,
        runs=(HEAD, given.lines(table)),
        runs_note=given.note(),
        slug=table.slug,
        long=long_table(table, published),
    )
    attack_columns.add(section, table, attacked)
    if with_settings:
        section.head = [*section.head, "settings"]
        section.rows = [[*row, given.rows.get(row[0], "")] for row in section.rows]
        section.notes += [note for note in (given.note(),) if note]
    report.add(section)
    remarks = section.warnings + section.notes
    text = latex(table, published, best, given.rows if with_settings else None, remarks)
    files.write_text(report.out / f"{table.slug}.tex", text)
    if report.plots:
        report.draw(section, {f"-{name}": drawn for name, drawn in _pictures(table).items() if drawn is not None})


def _add_seeds(report: Report, table: Table) -> None:
    """Which method is nearer to Retrain than which, and what the deviation comes from; each where there are seeds."""
    head, rows, pairs, said = nearer.against_nearest(table)
    if rows:
        title = f"{table.title}: which method is nearer to Retrain"
        report.add(Section(title, head, rows, said, slug=f"{table.slug}-nearer", long=pairs))
    head, rows = deviations.nested(table)
    if rows:
        title = f"{table.title}: what the deviation comes from"
        report.add(Section(title, head, rows, [deviations.NOTE], slug=f"{table.slug}-deviation"))


def _pictures(table: Table) -> dict[str, Any]:
    """Figures by name; those that there is too little for are left out or None."""
    from report import cost, curves, overview
    from report.plots import HATCHES

    rows = table.tried()
    drawn: dict[str, Any] = {}
    if table.cells and len(table.models) <= len(HATCHES):
        drawn["bars"] = overview.bars(table)
    if any(table.average_gap(row, model.name) is not None for row in rows for model in table.models):
        drawn |= {"glance": overview.glance(table), "cost": cost.cost(table)}
    families = overview.families(table) if table.cells else {}
    for pruner, models in families.items():
        name = f"sparsity-{pruner}" if len(families) > 1 else "sparsity"
        drawn[name] = overview.against_sparsity(table, models, pruner)
    return drawn | {"curves": curves.draw_unlearning(table)}


def _add_scores(report: Report, table: Table, scores: list[str]) -> None:
    """The scores beside the paper's, or a line that says that no run has them."""
    head, rows = further.scores_table(table, scores)
    if len(head) == 1:
        print(f"{table.title}: no run has {', '.join(scores)}\n", flush=True)
    else:
        note = further.note(head, scores)
        report.add(Section(f"{table.title}: further scores", head, rows, [note], slug=f"{table.slug}-scores"))


def add_others(report: Report, found: Collection) -> None:
    """The tables of ``main_backdoor.py``'s and ``main_transfer.py``'s runs."""
    for kind, script in ((backdoor_table, "main_backdoor.py"), (transfer_table, "main_transfer.py")):
        for table in kind.tables([run.content for run in found.of(script)]):
            section = report.add(kind.section(table))
            if report.plots:
                report.draw(section, {"": kind.draw(table)})


def add_left_out(report: Report, found: Collection, place: Path) -> None:
    """What stands in no table, and the curves of trainings. Raises UsageError: there is no table; names ``place``."""
    lines = missing.left_out(found)
    if not report.sections:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        left_out = f"; left out: {lines[0]}{more}" if lines else ""
        kinds = "main_forget.py, main_backdoor.py or main_transfer.py"
        raise UsageError(f"{place}: no finished result of {kinds} below it{left_out}")
    report.say("left out:", "Left out", lines)
    if report.plots:
        _add_trainings(report, found)


def _add_trainings(report: Report, found: Collection) -> None:
    """The curves of every training."""
    from report import curves

    section = Section("Training curves")
    for name, (title, runs) in curves.trainings(found).items():
        report.draw(section, {name: curves.draw_training(title, runs)})
    if section.pictures:
        report.sections.append(section)
