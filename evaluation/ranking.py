"""Methods in order of what they leave undone and of what they cost, over all scenarios and models. Imports neither torch nor numpy."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import Any

from evaluation.results import Table, tell_apart
from evaluation.rows import position
from evaluation.tables import minutes, percent
from utils.names import file_name

LEAST = 3  # methods that a column must have, and that must have all columns; fewer need no order
SCENARIO = ("kind", "forget", "words", "sizes")  # what the tables of a group may differ in


@dataclass
class Group:
    """Tables that differ in nothing but what is forgotten.

    Attributes:
        title, slug: as a table's.
        key: what the tables share.
        columns: scenarios and models on which enough methods have been run.
    """

    title: str
    slug: str
    key: dict[str, Any]
    columns: list[tuple[Table, str]]

    @property
    def methods(self) -> list[str]:
        """Rows that any column has, but for Retrain's and Original's, in the order of tables."""
        names = {row for table, model in self.columns for row in _finished(table, model)}
        return sorted(names, key=lambda name: (position(name), name))

    def gaps(self, name: str) -> list[float | None]:
        """A row's average gap, in [0, 1], on every column: that of each seed, then their mean."""
        return [table.gap_by_seed(name, model) for table, model in self.columns]


def groups(tables: list[Table]) -> list[Group]:
    """The tables that are ranked together, where at least three methods have been run on at least two scenarios or models."""
    found: dict[str, list[Table]] = {}
    for table in tables:
        shared = {name: value for name, value in table.key.items() if name not in SCENARIO}
        found.setdefault(json.dumps(shared, sort_keys=True), []).append(table)
    made = []
    for text, members in found.items():
        key = json.loads(text)
        fixed = key["compat"] == "fixed"
        slug = file_name(f"ranking-{key['dataset']}-{key['arch']}" + ("" if fixed else f"-{key['compat']}"))
        title = f"{key['dataset']}, {key['arch']}: methods by average gap" + (
            "" if fixed else f" (compat {key['compat']})"
        )
        columns = [
            (table, model.name)
            for table in members
            for model in table.models
            if len(_finished(table, model.name)) >= LEAST
        ]
        group = Group(title, slug, key, columns)
        if len(columns) > 1 and sum(None not in group.gaps(name) for name in group.methods) >= LEAST:
            made.append(group)
    tell_apart(made)
    return made


def _finished(table: Table, model: str) -> list[str]:
    """Methods with a gap to Retrain on a model."""
    return [
        row for row in table.rows if row not in ("Retrain", "Original") and table.average_gap(row, model) is not None
    ]


NOTE = (
    "Average gap to Retrain in per cent (mean of UA, MIA-Efficacy, RA and TA) of each seed, so that misses on either side of Retrain do not cancel as in the "
    "tables' means; then the mean over seeds, by scenario and model, then the mean of these columns; "
    "smaller is better. RTE: mean of the same columns, and what part of Retrain's with the same seeds that is (* where machines differ). n: seeds of each column. "
    "Original, which does nothing, has no rank; neither has a method that lacks a column."
)


def table(group: Group) -> tuple[list[str], list[list[str]]]:
    """Head and rows, the smallest mean gap first; what lacks a column comes last."""
    gaps = {name: group.gaps(name) for name in ["Original", *group.methods]}
    times = {name: _times(group, name) for name in gaps}
    whole = sorted((name for name in gaps if None not in gaps[name]), key=lambda name: statistics.fmean(gaps[name]))
    ranked = [name for name in whole if name != "Original"]
    by_cost = sorted((name for name in ranked if times[name]), key=lambda name: times[name][0])
    rows = []
    for name in whole + [name for name in gaps if name not in whole and any(gap is not None for gap in gaps[name])]:
        place, cost = (str(order.index(name) + 1) if name in order else "-" for order in (ranked, by_cost))
        mean = statistics.fmean(gaps[name]) if name in whole else None
        rows.append(
            [
                name,
                place,
                percent(mean),
                *map(percent, gaps[name]),
                cost,
                *_cost(group, name, times[name]),
                _seeds(group, name),
            ]
        )
    titles = [f"{_scenario(group, table)}, {model}" for table, model in group.columns]
    return ["method", "rank", "mean gap", *titles, "rank by RTE", "RTE (min)", "of Retrain's", "n"], rows


def _times(group: Group, name: str) -> tuple[float, float] | None:
    """Mean RTE over all columns, and Retrain's with the same seeds, in minutes; None where a column lacks one of them."""
    pairs = []
    for table, model in group.columns:
        own, exact = table.cell(name, model, "RTE"), table.cell("Retrain", model, "RTE")
        shared = set(own.seeds) & set(exact.seeds) if own and exact else set()
        if not shared:
            return None
        pairs.append((own.mean_over(shared), exact.mean_over(shared)))
    return statistics.fmean(own for own, _ in pairs), statistics.fmean(exact for _, exact in pairs)


def _cost(group: Group, name: str, times: tuple[float, float] | None) -> tuple[str, str]:
    if times is None:
        return "-", "-"
    machines = {
        machine
        for table, model in group.columns
        for row in (name, "Retrain")
        for machine in table.cell(row, model, "RTE").machines
    }
    star = "*" if len(machines) > 1 else ""
    return minutes(times[0]) + star, (f"{100 * times[0] / times[1]:.1f} %" if times[1] else "-") + star


def _seeds(group: Group, name: str) -> str:
    counts = [table.runs(name, model) for table, model in group.columns]
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"


def _scenario(group: Group, table: Table) -> str:
    """Its kind; in full where another scenario is of the same kind."""
    words = {other.key["words"] for other, _ in group.columns if other.key["kind"] == table.key["kind"]}
    return table.key["kind"] if len(words) == 1 else table.key["words"]
