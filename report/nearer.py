"""Whether one method is nearer to Retrain than another: paired over the seeds that both have."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass

import pandas as pd

from report.comparison import SEED, Table
from report.deviations import LEVELS
from report.text import percent

LEAST = 3  # pairs, below which an interval says nothing
LEVEL = 0.95
NOTE = (
    "Average gap to Retrain, in points, of each seed by itself, as in the ranking; then each method against the one "
    "with the smallest, paired by {unit}: the mean difference, its 95 % interval and p by a paired t-test, and p "
    "corrected for the number of comparisons on the same model (false discovery rate, Benjamini and Hochberg). An "
    "interval above 0 says that the method is farther from Retrain. The .csv has all pairs of methods.{more}"
)


@dataclass(frozen=True)
class Difference:
    """One method's gap minus another's, in [-1, 1].

    Attributes:
        mean: over the pairs.
        low, high: of the 95 % interval; NaN where all differences are the same.
        p: of no difference, two-sided; NaN likewise.
        pairs: how many there are.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int


def difference(one: dict, other: dict) -> Difference | None:
    """The gaps of one method minus those of another, over what both have; None below ``LEAST`` pairs.

    Args:
        one, other: gaps by what is paired.
    """
    from scipy import stats

    shared = [key for key in one if key in other]
    if len(shared) < LEAST:
        return None
    ours, theirs = [one[key] for key in shared], [other[key] for key in shared]
    changes = [a - b for a, b in zip(ours, theirs)]
    mean = statistics.fmean(changes)
    if max(changes) - min(changes) < 1e-12:  # no variance, no test
        return Difference(mean, math.nan, math.nan, math.nan, len(shared))
    found = stats.ttest_rel(ours, theirs)
    interval = found.confidence_interval(LEVEL)
    return Difference(mean, float(interval.low), float(interval.high), float(found.pvalue), len(shared))


def units(table: Table, row: str, model: str) -> dict[tuple, float]:
    """The gaps of a cell by what is independent: trainings, in the mean over all runs of one, or else its runs."""
    gaps = table.gaps_by_seed(row, model)
    if not one_training(table):
        groups: dict[tuple, list[float]] = {}
        for key, value in gaps.items():
            groups.setdefault(_training(key), []).append(value)
        return {key: statistics.fmean(values) for key, values in groups.items()}
    return dict(gaps)


def one_training(table: Table) -> bool:
    """Whether all runs of a table begin with the same training."""
    return len({_training(tuple(key)) for key in table.values[SEED].itertuples(index=False)}) < 2


def _training(key: tuple) -> tuple:
    return tuple(key[SEED.index(name)] for name in LEVELS["training"])


def against_nearest(table: Table) -> tuple[list[str], list[list[str]], pd.DataFrame, list[str]]:
    """Head and rows, all pairs for a CSV file, and the notes; no rows where there are too few seeds or methods."""
    head = ["method", "model", "avg. gap by seed", "minus the nearest's", "95 % interval", "p", "p, corrected", "pairs"]
    rows: list[list[str]] = []
    pairs: list[tuple] = []
    for model in (model.name for model in table.models):
        cells = {row: found for row in table.tried() if row != "Original" and (found := units(table, row, model))}
        cells = {row: found for row, found in cells.items() if len(found) >= LEAST}
        if len(cells) > 1:
            rows += _rows(model, cells)
            pairs += [(model, a, b, difference(cells[a], cells[b])) for a, b in itertools.combinations(cells, 2)]
    lines = [(m, a, b, d.mean, d.low, d.high, d.p, d.pairs) for m, a, b, d in pairs if d is not None]
    names = ["model", "method", "other", "gap minus other's", "low", "high", "p", "pairs"]
    alone = one_training(table)
    more = (
        " All runs begin with one training, so that it is of this model alone that the answers speak." if alone else ""
    )
    note = NOTE.format(unit="run" if alone else "training", more=more)
    return head, rows, pd.DataFrame(lines, columns=names), [note]


def _rows(model: str, cells: dict[str, dict[tuple, float]]) -> list[list[str]]:
    """One line a method, the smallest gap first."""
    means = {row: statistics.fmean(found.values()) for row, found in cells.items()}
    order = sorted(cells, key=means.__getitem__)
    nearest, *others = order
    found = {row: difference(cells[row], cells[nearest]) for row in others}
    corrected = _corrected({row: one.p for row, one in found.items() if one is not None and not math.isnan(one.p)})
    rows = [[nearest, model, percent(means[nearest]), "nearest", "", "", "", str(len(cells[nearest]))]]
    for row in others:
        one = found[row]
        if one is None:
            rows.append([row, model, percent(means[row]), "-", "-", "-", "-", "0"])
            continue
        tested = row in corrected
        interval = f"{100 * one.low:+.2f} to {100 * one.high:+.2f}" if tested else "-"
        ps = [f"{one.p:.3f}", f"{corrected[row]:.3f}"] if tested else ["-", "-"]
        rows.append([row, model, percent(means[row]), f"{100 * one.mean:+.2f}", interval, *ps, str(one.pairs)])
    return rows


def _corrected(ps: dict[str, float]) -> dict[str, float]:
    from scipy import stats

    return dict(zip(ps, stats.false_discovery_control(list(ps.values())).tolist())) if ps else {}
