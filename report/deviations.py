"""Divides the deviation over seeds by its sources: trainings, forget sets, unlearnings and scorings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import pandas as pd

from report.comparison import SEED, Table
from report.runs import METRICS
from report.text import percent

# The levels of nesting, each within the one before it, and the seeds by which members of a level differ. The entry
# "part" holds the split of a training too, see ``Table.nesting``.
LEVELS: dict[str, tuple[str, ...]] = {
    "training": ("train_seed", "init_seed", "part"),
    "forget set": ("seed",),
    "unlearning": ("unlearn_seed",),
    "scoring": ("eval_seed",),
}
NOTE = (
    "In per cent. Each level lies within the one before it: unlearnings of one training, scorings of one unlearning. "
    "sd: standard deviation of the level alone, without what the levels below it add (0 where these explain all); "
    "±: standard error of the mean over the topmost level, whose members alone are independent; n: their number."
)
Key = tuple  # of one run: the values of ``SEED``, in its order
Values = Mapping[Key, float]


def counts(keys: Sequence[Key]) -> dict[str, int]:
    """The number of distinct members at each level among these runs."""
    return {level: len({member(key, level) for key in keys}) for level in LEVELS}


def varying(keys: Sequence[Key]) -> list[str]:
    """The levels at which some member of the level above has several members."""
    varying, above = [], 1
    for level, number in counts(keys).items():
        if number > above:
            varying.append(level)
        above = number
    return varying


def finished(table: Table) -> list[Key]:
    """The seeds of a table's finished runs, each once, with the split as in ``Table.nesting``."""
    keys = table.values[SEED].drop_duplicates().itertuples(index=False, name=None)
    return [table.nesting[key] for key in keys]


def words(table: Table) -> str:
    """A sentence that says over which seeds the deviations in a table run; empty for fewer than two runs."""
    keys = finished(table)
    if len(keys) < 2:
        return ""
    levels, members = varying(keys), counts(keys)
    above = [1, *(members[level] for level in levels)]
    parts = [_each(level, members[level], number) for level, number in zip(levels, above)]
    within = [level for level in LEVELS if level not in levels and len({_part(key, level) for key in keys}) > 1]
    apart = (
        f", each with a seed of its own for {_listed(within)} too, whose shares cannot be told apart" if within else ""
    )
    return f"The deviation runs over {', and '.join(parts)}{apart}."


def _each(level: str, number: int, above: int) -> str:
    """The number of members of a level in words, per member of the level above if that has several."""
    if above == 1:
        return f"{number} {level}s"
    share = number / above
    return f"{share:.3g} {level}s of each" if share == int(share) else f"{number} {level}s of these in all"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def member(key: Key, level: str) -> Key:
    """The seeds of a run that identify its member of a level, including those of the levels above."""
    above = list(LEVELS)[: list(LEVELS).index(level) + 1]
    return tuple(seed for name in above for seed in _part(key, name))


def _part(key: Key, level: str) -> Key:
    return tuple(key[SEED.index(name)] for name in LEVELS[level])


def shares(values: Values, levels: Sequence[str]) -> tuple[dict[str, float], list[float]]:
    """The standard deviation that each level alone contributes, and the means of the topmost level's members.

    The variance of a level is the variance of its members' means, less the part that the levels below contribute to
    it, at least 0. That part is the variance of the means one level below, divided by the harmonic mean of the numbers
    of members there. For balanced nestings these are the estimates of a nested analysis of variance.

    Args:
        values: by the runs' seeds in the order of ``SEED``.
        levels: those that vary, the topmost first.
    Returns:
        Standard deviations by level, in the unit of the values, NaN where no member has a sibling; and one mean for
        each member of the topmost level.
    """
    shares: dict[str, float] = {}
    means = dict(values)  # of the members of a level, by the seeds of each member's first run
    below = 0.0  # variance that the levels below contribute to a member's mean
    for depth in range(len(levels) - 1, -1, -1):
        groups: dict[Key, dict[Key, float]] = {}
        for key, value in means.items():
            groups.setdefault(tuple(_part(key, level) for level in levels[:depth]), {})[key] = value
        several = [group.values() for group in groups.values() if len(group) > 1]
        free = sum(len(group) - 1 for group in several)
        spread = sum(statistics.variance(group) * (len(group) - 1) for group in several) / free if free else math.nan
        shares[levels[depth]] = math.sqrt(max(spread - below, 0.0))
        if depth:
            below = spread / statistics.harmonic_mean([len(group) for group in groups.values()])
            means = {next(iter(group)): statistics.fmean(group.values()) for group in groups.values()}
    return {level: shares[level] for level in levels}, list(means.values())


def nested(table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table with the mean and each level's standard deviation, by method, model and score.

    There are no rows if fewer than two levels vary.
    """
    levels = varying(finished(table))
    head = ["method", "model", "score", "mean", *(f"sd, {level}s" for level in levels), "n"]
    if len(levels) < 2:
        return head, []
    rows = []
    four = table.values[table.values["metric"].isin(METRICS)]
    groups = dict(list(four.groupby(["row", "model", "metric"], sort=False)))
    for row in table.rows:
        for model in table.models:
            for metric in METRICS:
                group = groups.get((row, model.name, metric))
                if group is not None:
                    rows.append([row, model.name, metric, *_line(group, levels, table.nesting)])
    return head, rows


def _line(group: pd.DataFrame, levels: list[str], nesting: Mapping[Key, Key]) -> list[str]:
    values = {nesting[tuple(key)]: value for *key, value in group[[*SEED, "value"]].itertuples(index=False)}
    own, tops = shares(values, levels)
    error = f" ± {percent(statistics.stdev(tops) / math.sqrt(len(tops)))}" if len(tops) > 1 else ""
    spreads = ["-" if math.isnan(own[level]) else percent(own[level]) for level in levels]
    return [f"{percent(statistics.fmean(tops))}{error}", *spreads, str(len(tops))]
