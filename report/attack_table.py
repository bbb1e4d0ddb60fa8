"""Tables of what population attacks found, and ``attack.json``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.populations.roc import Bootstrap
from evaluation.populations.study import ATTACKS, Finding, Findings
from report.latex import plain
from report.marks import reference
from report.page import Section
from report.population_files import ORIGINAL, RETRAIN, Study
from report.writer import Report
from utils import files
from utils.names import file_name

JSON = "attack.json"
NAMES = [name for names in ATTACKS.values() for name in names]
FIGURES = {  # title by key, with the false positive rate that it is taken at
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
EXPLAINED = {
    "U-LiRA": "can a model that forgot an image be told from models of the same method that never saw it",
    "U-LiRA against Retrain": "the same, told from models retrained without the very images",
    "LiRA": "can an image that was to be forgotten be told from never seen ones, by originals that did and did not see "
    "it (online) or did not (offline)",
    "RMIA": "the same, by how much more probable the image is than images that trained nobody",
    "KLoM": "distance in nats of the margins from those of retrained models; that of Retrain is the least that so many "
    "models can reach",
}


def add(report: Report, study: Study, found: dict[str, Findings], how: Bootstrap) -> None:
    """Write the tables of every density, and say what was not run."""
    for title, findings in found.items():
        of_density = [
            _summary(study, title, findings.found, how),
            _details(study, title, findings.found),
            _klom(study, title, findings.found),
        ]
        for section in of_density:
            if section.rows:
                report.add(section)
                files.write_text(report.out / f"{section.slug}.tex", plain(section))
    lines = [
        f"{attack}, {title}, for {', '.join(rows)}: {reason}"
        for title, findings in found.items()
        for (attack, reason), rows in findings.skipped.items()
    ]
    report.say("not run:", "Not run", lines)


def _cell(finding: Finding | None, key: str, factor: float = 100, form: str = ".1f") -> str:
    """``value [lower, upper]``; a dash where there is none."""
    if finding is None or key not in finding.numbers:
        return "-"
    edges = finding.intervals.get(key)
    shown = "" if edges is None else f" [{', '.join(format(factor * edge, form) for edge in edges)}]"
    few = finding.others < 1 / FIGURES[key][1] if FIGURES.get(key, ("", 0))[1] else False
    return format(factor * finding.numbers[key], form) + ("*" if few else "") + shown


def _summary(study: Study, title: str, found: list[Finding], how: Bootstrap) -> Section:
    """One line a method, its AUC under each attack."""
    known = {(finding.row, finding.attack): finding for finding in found}
    rows = list(dict.fromkeys(finding.row for finding in found))
    names = [name for name in NAMES if any((row, name) in known for row in rows)]
    heads = {name: "KLoM" if name == "KLoM" else f"{name} AUC" for name in names}
    lines = []
    for row in rows:
        cells = [
            _cell(known.get((row, name)), "klom_forget", 1, ".2f")
            if name == "KLoM"
            else _cell(known.get((row, name)), "auc")
            for name in names
        ]
        lines.append([row, *cells, str(max(known[row, name].models for name in names if (row, name) in known))])
    said = [
        f"AUC in per cent, 50 where there is nothing to find; in brackets {100 * how.level:g} % intervals over splits.",
        "Original has forgotten nothing: no method should be found more easily. Retrain has nothing to forget.",
    ]
    return Section(
        f"{study.dataset}, {title}: judged by populations",
        ["method", *heads.values(), "models"],
        lines,
        said + study.remarks,
        best=_nearest(rows, heads, known),
        warnings=_warnings(known),
        explained={name: words for name, words in EXPLAINED.items() if any(name in head for head in names)},
        slug=file_name(f"attack-{title}"),
        long=_long(title, found),
    )


def _nearest(
    rows: list[str], heads: dict[str, str], known: dict[tuple[str, str], Finding]
) -> frozenset[tuple[str, str]]:
    """The methods that an attack finds least, by row and column; as shown, so that ties share the mark."""
    best: set[tuple[str, str]] = set()
    for name, head in heads.items():
        key = "klom_forget" if name == "KLoM" else "auc"
        values = {
            row: round(known[row, name].numbers[key] if name == "KLoM" else abs(known[row, name].numbers[key] - 0.5), 3)
            for row in rows
            if (row, name) in known and not reference(row)
        }
        if len(set(values.values())) > 1:
            best |= {(row, head) for row, value in values.items() if value == min(values.values())}
    return frozenset(best)


def _warnings(known: dict[tuple[str, str], Finding]) -> list[str]:
    """Where the controls say that the population cannot judge, a sentence each."""
    said = []
    for (row, name), finding in known.items():
        edges = finding.intervals.get("auc")
        if edges is None:
            continue
        shown = f"{name} finds {_cell(finding, 'auc')} for {row}"
        if row == RETRAIN and not edges[0] <= 0.5 <= edges[1]:
            said.append(
                f"{shown}, where there is nothing to find: retrained and other models differ in more than what they "
                "saw, or there are too few; trust no number of this attack."
            )
        if row == ORIGINAL and edges[0] <= 0.5:
            said.append(
                f"{shown}, which forgot nothing: the models do not learn single images by heart, or there are too few; "
                "this attack tells no method from another."
            )
    return said


def _details(study: Study, title: str, found: list[Finding]) -> Section:
    """One line for every method and attack, with all numbers."""
    kept = [finding for finding in found if "auc" in finding.numbers]
    rows = [
        [
            f"{finding.row}, {finding.attack}",
            *(_cell(finding, key) for key in FIGURES),
            f"{finding.members:,}",
            f"{finding.others:,}",
            str(finding.splits),
        ]
        for finding in kept
    ]
    said = ["In per cent. Balanced accuracy guesses right half of the time where there is nothing to find."]
    if any("*" in cell for row in rows for cell in row):
        said.append(
            "*: too few scores of never seen images for this rate; the rate of true positives without any error."
        )
    head = ["method, attack", *(name for name, _ in FIGURES.values()), "forgotten", "never seen", "splits"]
    return Section(
        f"{study.dataset}, {title}: every number", head, rows, said, slug=file_name(f"attack-{title}-details")
    )


def _klom(study: Study, title: str, found: list[Finding]) -> Section:
    kept = [finding for finding in found if "klom_forget" in finding.numbers]
    rows = [[finding.row, *(_cell(finding, key, 1, ".2f") for key in KLOM), str(finding.models)] for finding in kept]
    said = ["KLoM in nats, the mean over images; from 0 to 11.5. Retrain is judged by halves of itself."]
    return Section(
        f"{study.dataset}, {title}: KLoM",
        ["method", *KLOM.values(), "models"],
        rows,
        said,
        slug=file_name(f"attack-{title}-klom"),
    )


def _long(title: str, found: Iterable[Finding]) -> pd.DataFrame:
    """One line a number, fractions and nats, unrounded."""
    lines = [
        {
            "model": title,
            "method": finding.row,
            "attack": finding.attack,
            "number": key,
            "value": value,
            "lower": finding.intervals.get(key, (None, None))[0],
            "upper": finding.intervals.get(key, (None, None))[1],
            "forgotten": finding.members,
            "never_seen": finding.others,
            "models": finding.models,
            "splits": finding.splits,
        }
        for finding in found
        for key, value in finding.numbers.items()
    ]
    return pd.DataFrame(lines)


def write_json(path: Path, study: Study, found: dict[str, Findings], how: Bootstrap) -> None:
    """Write all numbers, curves and the distribution over images as ``attack.json``."""
    content = {
        "dataset": study.dataset,
        "data": study.data,
        "interval": {"level": how.level, "draws": how.draws, "seed": how.seed, "over": "splits"},
        "units": "fractions in [0, 1]; KLoM in nats",
        "findings": [_plain(title, finding) for title, findings in found.items() for finding in findings.found],
        "not_run": [
            {"model": title, "attack": attack, "methods": rows, "reason": reason}
            for title, findings in found.items()
            for (attack, reason), rows in findings.skipped.items()
        ],
        "remarks": study.remarks,
    }
    files.write_json(path, content | {files.SEAL: files.seal(content)})


def _plain(title: str, finding: Finding) -> dict[str, Any]:
    content: dict[str, Any] = {
        "model": title,
        "method": finding.row,
        "attack": finding.attack,
        "numbers": finding.numbers,
        "intervals": {key: list(edges) for key, edges in finding.intervals.items()},
        "models": finding.models,
        "splits": finding.splits,
        "forgotten": finding.members,
        "never_seen": finding.others,
    }
    if finding.curve is not None:
        content["curve"] = {name: side.tolist() for name, side in zip(("fpr", "tpr"), finding.curve)}
    if finding.per_image is not None:
        told = np.flatnonzero(~np.isnan(finding.per_image))
        values, counts = np.unique(finding.per_image[told].round(6), return_counts=True)
        content["images"] = {"accuracy": values.tolist(), "count": counts.tolist()}
    return content
