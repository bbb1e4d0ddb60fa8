"""Differences between two sides over the seeds that both have: mean, interval, p, and p corrected for many tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from report.comparison import Seeds, Table
from report.deviations import counts, finished, member

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


def cells(change: Difference | None, corrected_p: float) -> list[str]:
    """The cells of a table: mean and interval in points, p, corrected p, and pairs; dashes where there is nothing."""
    if change is None:
        return ["-", "-", "-", "-", "0"]
    interval = f"{100 * change.low:+.2f} to {100 * change.high:+.2f}" if change.tested else "-"
    return [f"{100 * change.mean:+.2f}", interval, p_text(change.p), p_text(corrected_p), str(change.pairs)]


class Units:
    """What is independent among the runs of tables: the members of the topmost level of the nesting that has several.

    Attributes:
        level: of ``deviations.LEVELS``; "training" for a single run.
    """

    def __init__(self, *tables: Table):
        self._nesting = {key: place for table in tables for key, place in table.nesting.items()}
        numbers = counts(list(dict.fromkeys(key for table in tables for key in finished(table))))
        self.level = next((level for level, number in numbers.items() if number > 1), "training")

    def means(self, values: Mapping[Seeds, float]) -> dict[tuple, float]:
        """The mean over the runs of each unit, in the order of ``values``; a difference is taken before, run by run.

        Args:
            values: by all seeds of a run.
        """
        by_unit: dict[tuple, list[float]] = {}
        for key, value in values.items():
            by_unit.setdefault(member(self._nesting[key], self.level), []).append(value)
        return {unit: statistics.fmean(members) for unit, members in by_unit.items()}

    def difference(self, one: Mapping[Seeds, float], other: Mapping[Seeds, float]) -> Difference | None:
        """``one`` minus ``other`` by the seeds that both have, then its mean over the units; None without any."""
        return difference(self.means(changes(one, other)).values())
