"""What a search makes small. An objective is one file in ``sweep/objectives``, or a module of another package."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from utils.plugins import Registry

Results = Sequence[dict[str, Any]]  # contents of ``result.json``, one of each seed, in the same order


@dataclass(frozen=True)
class Objective:
    """What a trial is judged by; all of it is made small.

    Attributes:
        name: as ``objective`` of a file's ``optuna`` block names it.
        parts: what each value is, for tables.
        values: from a trial's results, Retrain's, and how much of the standard deviation over the seeds is added, to
            one value for each of ``parts``, in [0, 1].
        per_seed: whether every seed is searched on its own, one run a trial; otherwise a trial is run on all seeds.
        sampler: the one that searches where the file names none.
        failed: the values of a trial whose run fails; None leaves it out of what the sampler learns from.
    """

    name: str
    parts: tuple[str, ...]
    values: Callable[[Results, Results, float], tuple[float, ...]]
    per_seed: bool = False
    sampler: str = "tpe"
    failed: tuple[float, ...] | None = None


OBJECTIVES: Registry[Objective] = Registry("objective", "objective", "sweep.objectives", "unlearn_sparse.objectives")


def objective(name: str, *parts: str, **declared: Any) -> Callable:
    """Decorator that registers a function as ``values`` of an objective; ``declared`` are its other attributes.

    Raises ValueError: the name is taken.
    """

    def register(values: Callable) -> Callable:
        OBJECTIVES.add(name, Objective(name, parts, values, **declared))
        return values

    return register


def norm(values: Sequence[float] | None) -> float:
    """The Euclidean norm, by which trials of several objectives are ranked; infinite for none and for NaN."""
    norm = math.inf if values is None else math.hypot(*values)
    return math.inf if math.isnan(norm) else norm
