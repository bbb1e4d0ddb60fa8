"""The average gap to Retrain over UA, RA, TA and MIA-Efficacy, as in the tables of Jia et al. (2023)."""

from __future__ import annotations

import statistics

from report.runs import METRICS
from sweep.objective import Results, objective


@objective("gap", "avg. gap")
def average_gap(ours: Results, exact: Results, spread: float) -> tuple[float, ...]:
    """The average gap: each score's mean over the seeds less Retrain's, absolute, averaged over the four scores.

    Args:
        ours: the trial's results, one per seed.
        exact: Retrain's results on the same seeds.
        spread: factor by which the standard deviation of the single seeds' gaps is added.
    Returns:
        One value, a fraction; in [0, 1] without ``spread``.
    """
    sides = [[result["scores"] for result in side] for side in (ours, exact)]
    means = [{metric: statistics.fmean(scores[metric] for scores in side) for metric in METRICS} for side in sides]
    apart = statistics.pstdev(_distance(*pair) for pair in zip(*sides))
    return (_distance(*means) + spread * apart,)


def _distance(ours: dict[str, float], exact: dict[str, float]) -> float:
    return statistics.fmean(abs(ours[metric] - exact[metric]) for metric in METRICS)
