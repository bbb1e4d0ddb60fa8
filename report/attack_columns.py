"""Adds the findings of population attacks to the tables of ``main_report.py`` as further columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.populations.all_attacks import ATTACKS
from report.comparison import Table
from report.page import Section
from report.runs import check, read_whole

NAME = "attack.json"
Attacked = dict[str, Any]  # the content of an attack.json
KEYS = {name: "klom_forget" if name == "KLoM" else "auc" for names in ATTACKS.values() for name in names}
HEADS = {name: name if name == "KLoM" else f"{name} AUC" for name in KEYS}  # columns by attack
EXPLAINED = {  # attacks, by the start of their names
    "U-LiRA": "can a model that forgot an image be told from models of the same method that never saw it",
    "U-LiRA against Retrain": "the same, told from models retrained without the very images",
    "LiRA": "can an image that was to be forgotten be told from never seen ones, by originals that did and did not see "
    "it (online) or did not (offline)",
    "RMIA": "the same, by how much more probable the image is than images that trained nobody",
    "KLoM": "distance in nats of the margins from those of retrained models; that of Retrain is the least that so many "
    "models can reach",
}

Numbers = Mapping[str, float]


def shown(numbers: Numbers, intervals: Mapping[str, Sequence[float]], key: str, mark: str = "") -> str:
    """A number with its interval as text, ``value [lower, upper]``, in nats for KLoM and in per cent for all others.

    Args:
        numbers: values by key, in [0, 1] or nats.
        intervals: lower and upper end by key, for those that have an interval.
        key: which number to show; the text is a dash if there is none.
        mark: text put behind the value.
    """
    if key not in numbers:
        return "-"
    factor, form = (1, ".2f") if key.startswith("klom") else (100, ".1f")
    edges = [format(factor * edge, form) for edge in intervals.get(key, ())]
    return format(factor * numbers[key], form) + mark + (f" [{', '.join(edges)}]" if edges else "")


def explained(names: Iterable[str]) -> dict[str, str]:
    """Explanations of the columns that begin with these attacks' names, by the start of the name."""
    attacks = list(names)
    return {start: words for start, words in EXPLAINED.items() if any(name.startswith(start) for name in attacks)}


def read(folders: Iterable[Path]) -> list[Attacked]:
    """The contents of the ``attack.json`` files that lie directly in these folders.

    Raises:
        UsageError: a file is damaged, or lacks what a column needs; the message names it.
    """
    contents = []
    for path in (folder / NAME for folder in folders):
        if path.is_file():
            content = read_whole(path)
            check(content, {"judged": list, "findings": list}, path)
            for part in content["judged"]:
                check(part, {"model": str, "method": str, "runs": list}, path)
            for part in content["findings"]:
                check(part, {"model": str, "method": str, "attack": str, "numbers": dict, "intervals": dict}, path)
            contents.append(content)
    return contents


def findings(table: Table, attacked: Iterable[Attacked]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The findings about the table's runs, by the names of row, attack and model."""
    by_place: dict[tuple[str, str, str], dict[str, Any]] = {}
    places = table.places
    for content in attacked:
        own = {
            (judged["model"], judged["method"]): next(places[run] for run in judged["runs"] if run in places)
            for judged in content["judged"]
            if not places.keys().isdisjoint(judged["runs"])
        }
        for finding in content["findings"]:
            row, models = own.get((finding["model"], finding["method"]), ("", []))
            if finding["attack"] in KEYS:
                by_place |= {(row, finding["attack"], model): finding for model in models}
    return by_place


def add(section: Section, table: Table, attacked: list[Attacked]) -> None:
    """Append a column to the section for each attack and model with a finding about the table's runs."""
    cells = {
        (row, f"{HEADS[attack]} {model}"): shown(finding["numbers"], finding["intervals"], KEYS[attack])
        for (row, attack, model), finding in findings(table, attacked).items()
    }
    ordered = [f"{head} {model.name}" for head in HEADS.values() for model in table.models]
    heads = [head for head in ordered if any(known == head for _, known in cells)]
    section.head = section.head + heads
    for line in section.rows:
        line += [cells.get((line[0], head), "" if line[0].endswith(", published") else "-") for head in heads]
    section.explained = {**section.explained, **explained(heads)}
