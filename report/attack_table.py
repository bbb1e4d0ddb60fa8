"""Writes the findings of population attacks as tables and as ``attack.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.populations.all_attacks import Finding, Findings
from evaluation.populations.roc import Bootstrap
from report import attack_contrasts
from report.attack_columns import HEADS, KEYS, NAME, explained, shown
from report.latex import plain
from report.marks import reference
from report.page import Section
from report.population_files import ORIGINAL, RETRAIN, Study
from report.writer import Report
from utils import files
from utils.errors import UsageError
from utils.names import file_name

FIGURES = {  # title by key, and the false positive rate at which it is taken, 0 for none
    "auc": ("AUC", 0.0),
    "balanced_accuracy": ("balanced accuracy", 0.0),
    "tpr@0.01": ("TPR at 1 % FPR", 0.01),
    "tpr@0.001": ("TPR at 0.1 % FPR", 0.001),
}
KLOM = {
    "klom_forget": "forgotten",
    "klom_forget_95": "forgotten, 95th percentile",
    "klom_retain": "retained",
    "klom_never": "never seen",
}


def add(report: Report, study: Study, by_density: Mapping[str, Findings], bootstrap: Bootstrap) -> None:
    """Add the tables of every model to the report, and the list of attacks that were not run.

    Args:
        by_density: findings by the name of the model, "dense" or "95 % sparse" for example.
        bootstrap: how the intervals were drawn.
    Raises:
        UsageError: no attack was run.
    """
    lines = [
        f"{attack}, {title}, for {', '.join(rows)}: {reason}"
        for title, findings in by_density.items()
        for (attack, reason), rows in findings.skipped.items()
    ]
    if not any(findings.found for findings in by_density.values()):
        raise UsageError(f"no attack could be run: {lines[0] if lines else 'there is no model to judge'}")
    sections = []
    for title, findings in by_density.items():
        name = f"{study.dataset}, {title}"
        sections.append(_summary(study, title, findings.found, bootstrap))
        sections += [_details(name, title, findings.found), _klom(name, title, findings.found)]
    for section in sections + attack_contrasts.sparsity(study.dataset, by_density, bootstrap):
        if section.rows:
            report.add(section)
            files.write_text(report.out / f"{section.slug}.tex", plain(section))
    report.say("not run:", "Not run", lines)


def _cell(finding: Finding, key: str) -> str:
    """A number as ``shown``, with a star where there are too few images to reach its false positive rate."""
    few = FIGURES.get(key, ("", 0.0))[1] * finding.others
    return shown(finding.numbers, finding.intervals, key, "*" if 0 < few < 1 else "")


def _summary(study: Study, title: str, findings: list[Finding], bootstrap: Bootstrap) -> Section:
    """The main table: a row per method with its AUC, or KLoM, under each attack."""
    by_place = {(finding.row, finding.attack): finding for finding in findings}
    rows = list(dict.fromkeys(finding.row for finding in findings))
    attacks = [attack for attack in HEADS if any((row, attack) in by_place for row in rows)]
    lines = []
    for row in rows:
        of_row = {attack: by_place[row, attack] for attack in attacks if (row, attack) in by_place}
        cells = [_cell(of_row[attack], KEYS[attack]) if attack in of_row else "-" for attack in attacks]
        lines.append([row, *cells, str(max(finding.models for finding in of_row.values()))])
    width = f"{100 * bootstrap.level:g} %"
    notes = [
        f"AUC in per cent, 50 where there is nothing to find; in brackets {width} intervals over splits.",
        "Original has forgotten nothing: no method should be found more easily. Retrain has nothing to forget.",
    ]
    return Section(
        f"{study.dataset}, {title}: judged by populations",
        ["method", *(HEADS[attack] for attack in attacks), "models"],
        lines,
        notes + study.remarks,
        best=_nearest(attacks, by_place),
        warnings=_warnings(by_place),
        explained=explained(attacks),
        slug=file_name(f"attack-{title}"),
        long=_long(title, findings),
    )


def _nearest(attacks: list[str], by_place: dict[tuple[str, str], Finding]) -> frozenset[tuple[str, str]]:
    """Row and column of the method that each attack detects least. Values are compared as shown, so ties share it."""
    best: set[tuple[str, str]] = set()
    for attack in attacks:
        nothing = 0.0 if attack == "KLoM" else 0.5
        values = {
            row: round(abs(finding.numbers[KEYS[attack]] - nothing), 3)
            for (row, name), finding in by_place.items()
            if name == attack and not reference(row)
        }
        if len(set(values.values())) > 1:
            best |= {(row, HEADS[attack]) for row, value in values.items() if value == min(values.values())}
    return frozenset(best)


def _warnings(by_place: dict[tuple[str, str], Finding]) -> list[str]:
    """A warning for each control (Retrain, Original) whose AUC shows that the population cannot judge methods.

    Retrain counts as detected if its AUC is further from 0.5 than 0.75 times the width of the interval, which is half
    more than the interval allows. The margin is there because each of several attacks has an interval that misses the
    truth now and then. Original counts as not detected if the lower end of its interval is at or below 0.5.
    """
    failing: dict[str, list[str]] = {ORIGINAL: [], RETRAIN: []}
    for (row, attack), finding in by_place.items():
        low, high = finding.intervals.get("auc", (0.0, 1.0))
        far = abs(finding.numbers.get("auc", 0.5) - 0.5) > 0.75 * (high - low)
        if "auc" in finding.intervals and (far if row == RETRAIN else row == ORIGINAL and low <= 0.5):
            failing[row].append(f"{attack} {_cell(finding, 'auc')}")
    meaning = {
        RETRAIN: "is found, where there is nothing to find: its models differ from others in more than what they saw, "
        "or there are too few; trust no number of these attacks",
        ORIGINAL: "is not found, which forgot nothing: the models do not learn single images by heart, or there are "
        "too few; these attacks tell no method from another",
    }
    return [f"{row} {meaning[row]} ({'; '.join(attacks)})." for row, attacks in failing.items() if attacks]


def _details(name: str, title: str, findings: list[Finding]) -> Section:
    """The table of all numbers, a row per method and attack."""
    rows = []
    for finding in findings:
        if "auc" in finding.numbers:
            images = f"{finding.members:,}", f"{finding.others:,}"
            cells = (_cell(finding, key) for key in FIGURES)
            rows.append([f"{finding.row}, {finding.attack}", *cells, *images, str(len(finding.splits))])
    notes = ["In per cent. Balanced accuracy guesses right half of the time where there is nothing to find."]
    if any("*" in cell for row in rows for cell in row):
        notes.append(
            "*: too few scores of never seen images for this rate; the rate of true positives without any error."
        )
    head = ["method, attack", *(figure for figure, _ in FIGURES.values()), "forgotten", "never seen", "splits"]
    return Section(f"{name}: every number", head, rows, notes, slug=file_name(f"attack-{title}-details"))


def _klom(name: str, title: str, findings: list[Finding]) -> Section:
    rows = [
        [finding.row, *(_cell(finding, key) for key in KLOM), str(finding.models)]
        for finding in findings
        if "klom_forget" in finding.numbers
    ]
    note = "KLoM in nats, the mean over images; from 0 to 11.5. Retrain is judged by halves of itself."
    head = ["method", *KLOM.values(), "models"]
    return Section(f"{name}: KLoM", head, rows, [note], slug=file_name(f"attack-{title}-klom"))


def _long(title: str, findings: Iterable[Finding]) -> pd.DataFrame:
    """All numbers for the CSV file, unrounded, one a row: fractions, and nats for KLoM."""
    columns = ["model", "method", "attack", "number", "value", "lower", "upper"]
    columns += ["forgotten", "never_seen", "models", "splits"]
    lines = []
    for finding in findings:
        counts = finding.members, finding.others, finding.models, len(finding.splits)
        for key, value in finding.numbers.items():
            edges = finding.intervals.get(key, (None, None))
            lines.append((title, finding.row, finding.attack, key, value, *edges, *counts))
    return pd.DataFrame(lines, columns=columns)


def write_json(folder: Path, study: Study, by_density: Mapping[str, Findings], bootstrap: Bootstrap) -> None:
    """Write ``attack.json``: all numbers, ROC curves, and the distribution of U-LiRA's accuracy over images.

    Args:
        folder: where to write it.
        by_density: findings by the name of the model, "dense" or "95 % sparse" for example.
        bootstrap: how the intervals were drawn.
    """
    content = {
        "dataset": study.dataset,
        "data": study.data,
        "interval": {"level": bootstrap.level, "draws": bootstrap.draws, "seed": bootstrap.seed, "over": "splits"},
        "units": "fractions in [0, 1]; KLoM in nats",
        "judged": [
            {"model": title, "method": row, "runs": [model.run for model in models]}
            for title, group in study.columns.items()
            for row, models in group.rows.items()
        ],
        "findings": [_plain(title, finding) for title, findings in by_density.items() for finding in findings.found],
        "not_run": [
            {"model": title, "attack": attack, "methods": rows, "reason": reason}
            for title, findings in by_density.items()
            for (attack, reason), rows in findings.skipped.items()
        ],
        "remarks": study.remarks,
    }
    files.write_json(folder / NAME, content | {files.SEAL: files.seal(content)})


def _plain(title: str, finding: Finding) -> dict[str, Any]:
    content: dict[str, Any] = {
        "model": title,
        "method": finding.row,
        "attack": finding.attack,
        "numbers": finding.numbers,
        "intervals": {key: list(edges) for key, edges in finding.intervals.items()},
        "models": finding.models,
        "splits": len(finding.splits),
        "forgotten": finding.members,
        "never_seen": finding.others,
    }
    if finding.curve is not None:
        content["curve"] = {name: side.tolist() for name, side in zip(("fpr", "tpr"), finding.curve)}
    if finding.per_image is not None:
        known = np.flatnonzero(~np.isnan(finding.per_image))
        values, counts = np.unique(finding.per_image[known].round(6), return_counts=True)
        content["images"] = {"accuracy": values.tolist(), "count": counts.tolist()}
    return content
