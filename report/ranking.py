"""Ranks methods by their average gap to Retrain and by run time, over all scenarios and models."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from report import paired
from report.comparison import Table, make_distinct, mean_of, named
from report.row_names import position
from report.text import minutes, percent

LEAST = 3  # methods needed in each column, and with a value in every column, for a ranking
SCENARIO = ("kind", "forget", "words", "sizes")  # what the tables of a group may differ in
NOTE = (
    "Average gap to Retrain in per cent (mean of UA, MIA-Efficacy, RA and TA) of each seed, so that misses on either "
    "side of Retrain do not cancel as in the tables' means; then the mean over seeds, by scenario and model, then the "
    "mean of these columns; smaller is better. 95 % interval: of the mean gap, over {unit}s, by Student's t. RTE: "
    "mean of the same columns, and what part of Retrain's with the same seeds that is (* where machines differ). n: "
    "seeds of each column. Original, which does nothing, has no rank; neither has a method that lacks a column."
)


@dataclass
class Group:
    """Tables that differ only in what is forgotten, whose methods are ranked together.

    Attributes:
        title, slug: as in ``comparison.Table``.
        key: the entries that the keys of the tables share.
        columns: table and model name of each scenario and model on which at least ``LEAST`` methods have a gap.
    """

    title: str
    slug: str
    key: dict[str, Any]
    columns: list[tuple[Table, str]]

    @property
    def methods(self) -> list[str]:
        """Rows with a gap in some column, without Retrain and Original, in the order of tables."""
        names = {row for table, model in self.columns for row in _finished(table, model)}
        return sorted(names, key=lambda name: (position(name), name))

    @cached_property
    def units(self) -> paired.Units:
        """The independent units among the runs of all columns."""
        return paired.Units(*dict.fromkeys(table for table, _ in self.columns))

    def gaps(self, name: str) -> list[float | None]:
        """A row's ``gap_by_seed`` in every column, in [0, 1]; None where it has none."""
        return [table.gap_by_seed(name, model) for table, model in self.columns]


def groups(tables: list[Table]) -> list[Group]:
    """Groups of tables to rank together: three methods must have a gap in each of at least two columns."""
    by_key: dict[str, list[Table]] = {}
    for table in tables:
        shared = {name: value for name, value in table.key.items() if name not in SCENARIO}
        by_key.setdefault(json.dumps(shared, sort_keys=True), []).append(table)
    groups = []
    for text, members in by_key.items():
        key = json.loads(text)
        title, slug = (
            f"{key['dataset']}, {key['arch']}: methods by average gap",
            f"ranking-{key['dataset']}-{key['arch']}",
        )
        places = [(table, model.name) for table in members for model in table.models]
        columns = [place for place in places if len(_finished(*place)) >= LEAST]
        group = Group(*named(title, slug, key["compat"]), key, columns)
        if len(group.columns) > 1 and sum(None not in group.gaps(name) for name in group.methods) >= LEAST:
            groups.append(group)
    make_distinct(groups)
    return groups


def _finished(table: Table, model: str) -> list[str]:
    """Methods with an average gap to Retrain on a model."""
    names = (row for row in table.rows if row not in ("Retrain", "Original"))
    return [row for row in names if table.average_gap(row, model) is not None]


def order(group: Group) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the ranking, the smallest mean gap first; methods that lack a column come last."""
    gaps = {name: group.gaps(name) for name in ["Original", *group.methods]}
    means = {name: mean for name, row in gaps.items() if (mean := mean_of(row)) is not None}
    times = {name: _times(group, name) for name in gaps}
    ordered = sorted(means, key=means.__getitem__)
    ranked = [name for name in ordered if name != "Original"]
    costs = {name: spent[0] for name in ranked if (spent := times[name])}
    by_cost = sorted(costs, key=costs.__getitem__)
    partial = [name for name in gaps if name not in means and any(gap is not None for gap in gaps[name])]
    interval = {name: _interval(group, name) for name in gaps}
    several, rows = set(interval.values()) != {"-"}, []
    for name in ordered + partial:
        place, cost = (str(names.index(name) + 1) if name in names else "-" for names in (ranked, by_cost))
        counts = sorted({table.runs(name, model) for table, model in group.columns})
        seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        row = [percent(means.get(name)), *([interval[name]] if several else []), *map(percent, gaps[name])]
        rows.append([name, place, *row, cost, *_cost(group, name, times[name]), seeds])
    titles = [f"{_scenario(group, table)}, {model}" for table, model in group.columns]
    gap = ["mean gap", "95 % interval"] if several else ["mean gap"]
    return ["method", "rank", *gap, *titles, "rank by RTE", "RTE (min)", "of Retrain's", "n"], rows


def _interval(group: Group, name: str) -> str:
    """Student's t interval of the mean gap over ``Group.units``, in per cent; a dash for fewer than three."""
    columns = [table.by_seed(name, model) for table, model in group.columns]
    shared = [seeds for seeds in columns[0] if all(seeds in column for column in columns)]
    means = {seeds: statistics.fmean(column[seeds] for column in columns) for seeds in shared}
    gap = paired.difference(group.units.means(means).values())
    return "-" if gap is None or not gap.tested else f"{percent(gap.low)} to {percent(gap.high)}"


def _times(group: Group, name: str) -> tuple[float, float] | None:
    """Mean RTE over all columns, and Retrain's with the same seeds, in minutes; None where a column lacks one."""
    cells = [table.cell(name, model, "RTE") for table, model in group.columns]
    pairs = [cell.shared for cell in cells if cell is not None and cell.shared is not None]
    if len(pairs) < len(cells):
        return None
    own, exact = zip(*pairs)
    return statistics.fmean(own), statistics.fmean(exact)


def _cost(group: Group, name: str, times: tuple[float, float] | None) -> tuple[str, str]:
    if times is None:
        return "-", "-"
    cells = [table.cell(row, model, "RTE") for table, model in group.columns for row in (name, "Retrain")]
    star = "*" if len(frozenset().union(*(cell.machines for cell in cells if cell))) > 1 else ""
    return minutes(times[0]) + star, (f"{100 * times[0] / times[1]:.1f} %" if times[1] else "-") + star


def _scenario(group: Group, table: Table) -> str:
    """The kind of the table's scenario; its full description if another scenario is of the same kind."""
    words = {other.key["words"] for other, _ in group.columns if other.key["kind"] == table.key["kind"]}
    return table.key["kind"] if len(words) == 1 else table.key["words"]
