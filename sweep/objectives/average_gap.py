"""The distance to Retrain in the four metrics of the paper's tables, as they average it."""

from __future__ import annotations

import statistics

from report.runs import METRICS
from sweep.objective import Results, objective


@objective("gap", "avg. gap")
def average_gap(ours: Results, exact: Results, spread: float) -> tuple[float, ...]:
    """The mean over UA, RA, TA and MIA-Efficacy of the distance between the means over the seeds, in [0, 1].

    ``spread`` adds a share of the standard deviation of the single seeds' gaps.
    """
    sides = [[result["scores"] for result in side] for side in (ours, exact)]
    means = [{metric: statistics.fmean(scores[metric] for scores in side) for metric in METRICS} for side in sides]
    apart = statistics.pstdev(_distance(*pair) for pair in zip(*sides))
    return (_distance(*means) + spread * apart,)


def _distance(ours: dict[str, float], exact: dict[str, float]) -> float:
    return statistics.fmean(abs(ours[metric] - exact[metric]) for metric in METRICS)
