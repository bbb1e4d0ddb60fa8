"""Methods in order of what they leave undone and of what they cost, over all scenarios and models. Imports neither torch nor numpy."""
from __future__ import annotations

import statistics
from dataclasses import dataclass

from evaluation.results import Table, position
from evaluation.tables import minutes, percent

LEAST = 3  # methods; fewer need no order


@dataclass(frozen=True)
class Group:
    """Tables of one data set, architecture and ``--compat``, one per scenario."""

    tables: list[Table]

    @property
    def slug(self) -> str:
        key = self.tables[0].key
        return f"ranking-{key['dataset']}-{key['arch']}" + ("" if key["compat"] == "fixed" else f"-{key['compat']}")

    @property
    def title(self) -> str:
        key = self.tables[0].key
        return f"{key['dataset']}, {key['arch']}: methods by average gap" + ("" if key["compat"] == "fixed" else f" (compat {key['compat']})")

    @property
    def columns(self) -> list[tuple[Table, str]]:
        """Every scenario and model that has been retrained."""
        return [(table, model.name) for table in self.tables for model in table.models if table.runs("Retrain", model.name)]


def groups(tables: list[Table]) -> list[Group]:
    """The tables that are ranked together, where there are at least two columns and three methods."""
    found: dict[tuple[str, ...], list[Table]] = {}
    for table in tables:
        found.setdefault(tuple(str(table.key[name]) for name in ("dataset", "arch", "compat")), []).append(table)
    return [group for group in map(Group, found.values()) if len(group.columns) > 1 and len(methods(group)) >= LEAST]


def methods(group: Group) -> list[str]:
    """All rows but Retrain's and Original's, in the order of tables."""
    names = {row for table in group.tables for row in table.rows}
    return sorted(names - {"Retrain", "Original"}, key=lambda name: (position(name), name))


NOTE = (
    "Average gap to Retrain in per cent (mean of UA, MIA-Efficacy, RA and TA), by scenario and model, then the mean of these columns; "
    "smaller is better. RTE: mean of the same columns, and what part of Retrain's that is. Original, which does nothing, has no rank; "
    "neither has a method that lacks a column."
)


def table(group: Group) -> tuple[list[str], list[list[str]]]:
    """Head and rows, the smallest mean gap first; what lacks a column comes last."""
    gaps = {name: [table.average_gap(name, model) for table, model in group.columns] for name in ["Original", *methods(group)]}
    times = {name: _minutes(group, name) for name in ["Retrain", *gaps]}
    whole = [name for name in gaps if None not in gaps[name]]
    by_gap = sorted(whole, key=lambda name: statistics.fmean(gaps[name]))
    ranked = [name for name in by_gap if name != "Original"]
    by_cost = sorted((name for name in ranked if times[name] is not None), key=lambda name: times[name])
    rows = []
    for name in by_gap + [name for name in gaps if name not in whole and any(gap is not None for gap in gaps[name])]:
        mean = statistics.fmean(gaps[name]) if name in whole else None
        place, cost = (str(order.index(name) + 1) if name in order else "-" for order in (ranked, by_cost))
        rows.append([name, place, percent(mean), *map(percent, gaps[name]), cost, minutes(times[name]), _part(times[name], times["Retrain"])])
    titles = [f"{_scenario(group, table)}, {model}" for table, model in group.columns]
    return ["method", "rank", "mean gap", *titles, "rank by RTE", "RTE (min)", "of Retrain's"], rows


def _minutes(group: Group, name: str) -> float | None:
    """Mean RTE over all columns; None where one lacks it."""
    cells = [table.cell(name, model, "RTE") for table, model in group.columns]
    return None if None in cells else statistics.fmean(cell.mean for cell in cells)


def _part(time: float | None, whole: float | None) -> str:
    return "-" if time is None or not whole else f"{100 * time / whole:.1f} %"


def _scenario(group: Group, table: Table) -> str:
    """Its kind; in full where another scenario is of the same kind."""
    alike = [other for other in group.tables if other.key["kind"] == table.key["kind"]]
    return table.key["kind"] if len(alike) == 1 else table.key["words"]
