"""Intervals of an attack's numbers, in one call."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.populations.roc import USUAL, Bootstrap, interval, samples
from evaluation.populations.ulira import halved, pooled


def intervals(*arguments: Any, bootstrap: Bootstrap = USUAL, **more: Any) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap interval over splits of every number of ``roc``: (lower, upper) by its name.

    Args:
        arguments, more: as of ``samples``.
    """
    return {
        key: interval(values, bootstrap.level)
        for key, values in samples(*arguments, bootstrap=bootstrap, **more).items()
    }


def ulira_intervals(found: dict[str, Any], split: np.ndarray, bootstrap: Bootstrap = USUAL) -> dict:
    """Of every number that ``ulira`` found, with samples of ``halved`` size."""
    scores = pooled(found["unlearned"], found["held_out"], split)
    return intervals(*scores, threshold=0.0, drawn=halved(split), bootstrap=bootstrap)
