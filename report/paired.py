"""Paired differences over the seeds that two sides share: mean, 95 % interval, p, and p corrected for many tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from report.comparison import Seeds, Table
from report.deviations import counts, finished, member

LEAST = 3  # pairs needed for an interval
LEVEL = 0.95
Key = TypeVar("Key")


@dataclass(frozen=True)
class Difference:
    """One side minus the other, in the unit of their values.

    Attributes:
        mean: over the pairs.
        low, high: ends of the 95 % interval; NaN below three pairs, and where all differences are equal.
        p: two-sided p value of a paired t-test, with no difference as null hypothesis; NaN where the interval is.
        pairs: their number.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int

    @property
    def tested(self) -> bool:
        """Whether there are an interval and a p value."""
        return not math.isnan(self.p)


def changes(one: Mapping[Key, float], other: Mapping[Key, float]) -> dict[Key, float]:
    """``one`` minus ``other`` over the keys that both have, in the order of ``one``."""
    return {key: value - other[key] for key, value in one.items() if key in other}


def difference(paired: Iterable[float]) -> Difference | None:
    """The mean of paired differences with Student's t interval and test.

    Args:
        paired: one difference for each pair.
    Returns:
        None if there is no pair.
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
    """p values corrected for the number of tests (false discovery rate, Benjamini and Hochberg 1995).

    Args:
        ps: p values in [0, 1], or NaN where there was no test; NaN stays NaN and does not count as a test.
    """
    from scipy import stats

    tested = [p for p in ps if not math.isnan(p)]
    controlled = iter(stats.false_discovery_control(tested).tolist() if tested else [])
    return [p if math.isnan(p) else next(controlled) for p in ps]


def p_text(p: float) -> str:
    """A p value with three decimals, "<0.001" for smaller ones, a dash for NaN."""
    if math.isnan(p):
        return "-"
    return f"{p:.3f}" if p >= 0.0005 else "<0.001"


def cells(change: Difference | None, corrected_p: float) -> list[str]:
    """Five cells of a table: mean and interval in percentage points, p, corrected p, and number of pairs.

    Args:
        change: a difference of fractions; None for none, which gives dashes.
    """
    if change is None:
        return ["-", "-", "-", "-", "0"]
    interval = f"{100 * change.low:+.2f} to {100 * change.high:+.2f}" if change.tested else "-"
    return [f"{100 * change.mean:+.2f}", interval, p_text(change.p), p_text(corrected_p), str(change.pairs)]


class Units:
    """The independent units among the runs of some tables, for tests that need independent samples.

    They are the members of the topmost level of nesting that has several: trainings, or if all runs start from one
    training, forget sets, and so on.

    Attributes:
        level: the units' level, of ``deviations.LEVELS``; "training" if no level has several members.
    """

    def __init__(self, *tables: Table):
        self._nesting = {key: place for table in tables for key, place in table.nesting.items()}
        numbers = counts(list(dict.fromkeys(key for table in tables for key in finished(table))))
        self.level = next((level for level, number in numbers.items() if number > 1), "training")

    def means(self, values: Mapping[Seeds, float]) -> dict[tuple, float]:
        """The mean of ``values`` over the runs of each unit, by unit.

        To compare two methods, take differences run by run before.

        Args:
            values: one per run, by its seeds.
        """
        by_unit: dict[tuple, list[float]] = {}
        for key, value in values.items():
            by_unit.setdefault(member(self._nesting[key], self.level), []).append(value)
        return {unit: statistics.fmean(members) for unit, members in by_unit.items()}

    def difference(self, one: Mapping[Seeds, float], other: Mapping[Seeds, float]) -> Difference | None:
        """``one`` minus ``other`` for the seeds that both have, averaged within units and tested over units.

        None if they share no seeds.
        """
        return difference(self.means(changes(one, other)).values())
