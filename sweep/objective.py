"""Objectives that a search minimises. Each is one file in ``sweep/objectives``, or a module of another package."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from utils.plugins import Registry

Results = Sequence[dict[str, Any]]  # contents of ``result.json``, one per seed


@dataclass(frozen=True)
class Objective:
    """The values by which a trial is judged; all of them are minimised.

    Attributes:
        name: the name that ``objective`` in a file's ``optuna`` block takes.
        parts: a title for each value, for tables.
        values: the function that judges a trial. It is called with the trial's results, Retrain's results on the same
            seeds in the same order, and the factor by which the standard deviation over the seeds is added. It returns
            one value for each of ``parts``, a fraction where 0 is best.
        per_seed: whether every seed is a search of its own, one run per trial; otherwise a trial runs on all seeds.
        sampler: the sampler where the file names none.
        failed: the values of a trial whose run fails; None hides the trial from the sampler.
    """

    name: str
    parts: tuple[str, ...]
    values: Callable[[Results, Results, float], tuple[float, ...]]
    per_seed: bool = False
    sampler: str = "tpe"
    failed: tuple[float, ...] | None = None


OBJECTIVES: Registry[Objective] = Registry("objective", "objective", "sweep.objectives", "unlearn_sparse.objectives")


def objective(name: str, *parts: str, **declared: Any) -> Callable:
    """Decorator that registers a function as ``Objective.values`` under this name.

    Args:
        parts: a title for each value that it returns.
        declared: further attributes of ``Objective``.
    Raises:
        ValueError: the name is taken.
    """

    def register(values: Callable) -> Callable:
        OBJECTIVES.add(name, Objective(name, parts, values, **declared))
        return values

    return register


def norm(values: Sequence[float] | None) -> float:
    """The Euclidean norm of a trial's values, by which trials are ranked; infinite for None and where one is NaN."""
    norm = math.inf if values is None else math.hypot(*values)
    return math.inf if math.isnan(norm) else norm
