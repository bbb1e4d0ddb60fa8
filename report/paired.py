"""Differences between two sides over the seeds that both have: mean, interval, p, and p corrected for many tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from report.comparison import SEED, Seeds, Table
from report.deviations import LEVELS
from report.runs import AVERAGE

LEAST = 3  # pairs, below which an interval says nothing
LEVEL = 0.95
Key = TypeVar("Key")


@dataclass(frozen=True)
class Difference:
    """One side minus the other, in the unit of their values.

    Attributes:
        mean: over the pairs.
        low, high: of the 95 % interval; NaN below three pairs, and where all differences are the same.
        p: of no difference, two-sided, by a paired t-test; NaN likewise.
        pairs: how many there are.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int

    @property
    def tested(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.p)

    def mean_text(self) -> str:
        """The mean with its sign, in points."""
        return f"{100 * self.mean:+.2f}"

    def interval_text(self) -> str:
        """``low to high`` in points; a dash without an interval."""
        return f"{100 * self.low:+.2f} to {100 * self.high:+.2f}" if self.tested else "-"


def changes(one: Mapping[Key, float], other: Mapping[Key, float]) -> dict[Key, float]:
    """``one`` minus ``other`` over the keys that both have, in the order of ``one``."""
    return {key: value - other[key] for key, value in one.items() if key in other}


def difference(paired: Iterable[float]) -> Difference | None:
    """The mean of paired differences with Student's t interval; None without any.

    Args:
        paired: one difference for each pair.
    """
    from scipy import stats

    values = list(paired)
    if not values:
        return None
    mean = statistics.fmean(values)
    if len(values) < LEAST or max(values) - min(values) < 1e-12:  # no variance, no test
        return Difference(mean, math.nan, math.nan, math.nan, len(values))
    test = stats.ttest_1samp(values, 0.0)
    interval = test.confidence_interval(LEVEL)
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue), len(values))


def corrected(ps: Sequence[float]) -> list[float]:
    """p corrected for the number of tests (false discovery rate, Benjamini and Hochberg 1995).

    Args:
        ps: in [0, 1], or NaN where there was no test; NaN stays NaN and does not count.
    """
    from scipy import stats

    tested = [p for p in ps if not math.isnan(p)]
    controlled = iter(stats.false_discovery_control(tested).tolist() if tested else [])
    return [p if math.isnan(p) else next(controlled) for p in ps]


def p_text(p: float) -> str:
    """Three decimals; a dash for NaN."""
    if math.isnan(p):
        return "-"
    return f"{p:.3f}" if p >= 0.0005 else "<0.001"


def units(table: Table, row: str, model: str, score: str = AVERAGE) -> dict[tuple, float]:
    """A score by what is independent: trainings, in the mean over the runs of each; or runs, if all share a training.

    Args:
        score: one of ``runs.BY_SEED``.
    Returns:
        The score in [0, 1] by the seeds of a training, or by all seeds of a run.
    """
    values = table.by_seed(row, model, score)
    if one_training(table):
        return dict(values)
    groups: dict[tuple, list[float]] = {}
    for key, value in values.items():
        groups.setdefault(_training(key), []).append(value)
    return {key: statistics.fmean(members) for key, members in groups.items()}


def one_training(table: Table) -> bool:
    """Whether all runs of a table begin with the same training."""
    return len({_training(tuple(key)) for key in table.values[SEED].itertuples(index=False)}) < 2


def _training(key: Seeds | tuple) -> tuple:
    return tuple(key[SEED.index(name)] for name in LEVELS["training"])
