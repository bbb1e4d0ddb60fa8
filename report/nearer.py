"""Whether one method is nearer to Retrain than another: paired over the seeds that both have."""

from __future__ import annotations

import itertools
import math
import statistics

import pandas as pd

from report.comparison import Seeds, Table
from report.paired import LEAST, Units, corrected, p_text
from report.text import percent

NOTE = (
    "Average gap to Retrain, in points, of each seed by itself, as in the ranking; then each method against the one "
    "with the smallest, paired by {unit}: the mean difference, its 95 % interval and p by a paired t-test, and p "
    "corrected for the number of comparisons on the same model (false discovery rate, Benjamini and Hochberg). An "
    "interval above 0 says that the method is farther from Retrain. The .csv has all pairs of methods.{more}"
)


ALONE = " All runs begin with one training, so that it is of this model alone that the answers speak."


def against_nearest(table: Table) -> tuple[list[str], list[list[str]], pd.DataFrame, list[str]]:
    """Head and rows, all pairs for a CSV file, and the notes; no rows where there are too few seeds or methods."""
    head = ["method", "model", "avg. gap by seed", "minus the nearest's", "95 % interval", "p", "p, corrected", "pairs"]
    rows: list[list[str]] = []
    pairs: list[tuple] = []
    units = Units(table)
    for model in (model.name for model in table.models):
        cells = {row: table.by_seed(row, model) for row in table.tried() if row != "Original"}
        cells = {row: found for row, found in cells.items() if len(units.means(found)) >= LEAST}
        if len(cells) > 1:
            rows += _rows(model, cells, units)
            for one, other in itertools.combinations(cells, 2):
                if (change := units.difference(cells[one], cells[other])) is not None:
                    pairs.append((model, one, other, change.mean, change.low, change.high, change.p, change.pairs))
    names = ["model", "method", "other", "gap minus other's", "low", "high", "p", "pairs"]
    more = "" if units.level == "training" else ALONE
    note = NOTE.format(unit=units.level, more=more)
    return head, rows, pd.DataFrame(pairs, columns=names), [note]


def _rows(model: str, cells: dict[str, dict[Seeds, float]], units: Units) -> list[list[str]]:
    """One line a method, the smallest gap first."""
    means = {row: statistics.fmean(units.means(found).values()) for row, found in cells.items()}
    order = sorted(cells, key=means.__getitem__)
    nearest, *others = order
    against = [units.difference(cells[row], cells[nearest]) for row in others]
    ps = corrected([math.nan if change is None else change.p for change in against])
    rows = [[nearest, model, percent(means[nearest]), "nearest", "", "", "", str(len(units.means(cells[nearest])))]]
    for row, change, p in zip(others, against, ps):
        told = ["-", "-", "-", "-", "0"]
        if change is not None:
            told = [change.mean_text(), change.interval_text(), p_text(change.p), p_text(p), str(change.pairs)]
        rows.append([row, model, percent(means[row]), *told])
    return rows
