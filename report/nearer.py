"""Tests whether one method is nearer to Retrain than another, paired over the seeds that both have."""

from __future__ import annotations

import itertools
import math
import statistics

import pandas as pd

from report.comparison import Seeds, Table
from report.paired import LEAST, Units, cells, corrected
from report.text import percent

NOTE = (
    "Average gap to Retrain, in points, of each seed by itself, as in the ranking; then each method against the one "
    "with the smallest, paired by {unit}: the mean difference, its 95 % interval and p by a paired t-test, and p "
    "corrected for the number of comparisons on the same model (false discovery rate, Benjamini and Hochberg). An "
    "interval above 0 says that the method is farther from Retrain. The .csv has all pairs of methods.{more}"
)


ALONE = " All runs begin with one training, so that it is of this model alone that the answers speak."


def against_nearest(table: Table) -> tuple[list[str], list[list[str]], pd.DataFrame, str]:
    """The table that compares each method with the one nearest to Retrain on the same model.

    Returns:
        Head; rows, none if there are too few seeds or methods; all pairs of methods for a CSV file, gaps as fractions;
        and the note below the table.
    """
    head = ["method", "model", "avg. gap by seed", "minus the nearest's", "95 % interval", "p", "p, corrected", "pairs"]
    rows: list[list[str]] = []
    pairs: list[tuple] = []
    units = Units(table)
    methods = [row for row in table.tried() if row != "Original"]
    for model in (model.name for model in table.models):
        gaps = {row: by_seed for row in methods if len(units.means(by_seed := table.by_seed(row, model))) >= LEAST}
        if len(gaps) > 1:
            rows += _rows(model, gaps, units)
            for one, other in itertools.combinations(gaps, 2):
                if (change := units.difference(gaps[one], gaps[other])) is not None:
                    pairs.append((model, one, other, change.mean, change.low, change.high, change.p, change.pairs))
    names = ["model", "method", "other", "gap minus other's", "low", "high", "p", "pairs"]
    note = NOTE.format(unit=units.level, more="" if units.level == "training" else ALONE)
    return head, rows, pd.DataFrame(pairs, columns=names), note


def _rows(model: str, gaps: dict[str, dict[Seeds, float]], units: Units) -> list[list[str]]:
    """One row per method, the smallest gap first.

    Args:
        gaps: average gaps in [0, 1], by method and seeds.
    """
    by_unit = {row: units.means(by_seed) for row, by_seed in gaps.items()}
    means = {row: statistics.fmean(values.values()) for row, values in by_unit.items()}
    nearest, *others = sorted(gaps, key=means.__getitem__)
    changes = [units.difference(gaps[row], gaps[nearest]) for row in others]
    ps = corrected([math.nan if change is None else change.p for change in changes])
    rows = [[nearest, model, percent(means[nearest]), "nearest", "", "", "", str(len(by_unit[nearest]))]]
    for row, change, p in zip(others, changes, ps):
        rows.append([row, model, percent(means[row]), *cells(change, p)])
    return rows
