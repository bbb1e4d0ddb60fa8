"""Whether scores order the methods alike: rank correlations of MIA-Efficacy, the average gap and population attacks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from report.attack_columns import HEADS, KEYS, Attacked, findings
from report.comparison import Table
from report.runs import METRICS

LEAST = 5  # methods; with fewer an interval says nothing
NOTE = (
    "Spearman's rank correlation of the methods' order by two scores, with its 95 % interval over methods (Bonett and "
    "Wright 2000): 1 where both order them alike, 0 where one says nothing of the other. Each score as a distance from "
    "what is perfect: UA, MIA-Efficacy, RA, TA and their mean from Retrain's, an AUC from one half. n: methods that "
    "have both. Original and Retrain take no part."
)
Distances = dict[str, dict[str, float]]  # by score, then by method


def order(table: Table, attacked: Iterable[Attacked]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of rank correlations: a row per pair of scores, a column per model.

    At least one score of each pair comes from a population attack.
    """
    by_place = findings(table, attacked)
    by_model = {model.name: _distances(table, model.name, by_place) for model in table.models}
    names = ["avg. gap", *METRICS, *HEADS.values()]
    pairs = [(one, other) for one, other in itertools.combinations(names, 2) if other in HEADS.values()]
    rows = []
    for one, other in pairs:
        cells = [_cell(scores.get(one, {}), scores.get(other, {})) for scores in by_model.values()]
        if any(cell != "-" for cell in cells):
            rows.append([f"{one}, {other}", *cells])
    return ["scores", *by_model], rows


def _distances(table: Table, model: str, by_place: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> Distances:
    """The distance of each method from a perfect value, by score: Retrain's value, an AUC of 0.5, a KLoM of 0."""
    methods = [row for row in table.tried() if row != "Original"]
    gaps = {"avg. gap": {row: table.average_gap(row, model) for row in methods}}
    gaps |= {metric: {row: table.gap(row, model, metric) for row in methods} for metric in METRICS}
    distances: Distances = {
        score: {row: gap for row, gap in by_row.items() if gap is not None} for score, by_row in gaps.items()
    }
    for (row, attack, name), finding in by_place.items():
        if row in methods and name == model and KEYS[attack] in finding["numbers"]:
            value = finding["numbers"][KEYS[attack]]
            distances.setdefault(HEADS[attack], {})[row] = value if attack == "KLoM" else abs(value - 0.5)
    return distances


def _cell(one: Mapping[str, float], other: Mapping[str, float]) -> str:
    both = [row for row in one if row in other]
    estimate = correlation([one[row] for row in both], [other[row] for row in both])
    return "-" if estimate is None else "{:+.2f} [{:+.2f}, {:+.2f}], n {}".format(*estimate, len(both))


def correlation(one: list[float], other: list[float]) -> tuple[float, float, float] | None:
    """Spearman's rank correlation with the ends of its 95 % interval, all in [-1, 1].

    Source of the standard error √((1 + ρ²/2) / (n - 3)) of artanh ρ: Bonett and Wright 2000, Psychometrika 65.

    Args:
        one, other: values of the same methods in the same order.
    Returns:
        None for fewer than 5 values, or where all values of a side are equal.
    """
    if len(one) < LEAST or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    from scipy.stats import norm, spearmanr

    rho = float(spearmanr(one, other).statistic)
    if abs(rho) > 1 - 1e-12:
        return (math.copysign(1.0, rho),) * 3
    half = norm.ppf(0.975) * math.sqrt((1 + rho**2 / 2) / (len(one) - 3))
    return rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
