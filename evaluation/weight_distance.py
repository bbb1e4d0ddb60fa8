"""How far two models' weights are apart, in all and tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor


def weight_distance(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], parameters: Collection[str]
) -> dict[str, Any]:
    """Euclidean length of the difference of two models' parameters.

    Args:
        first, second: state dicts.
        parameters: names of the entries that count, which leaves out the statistics of batch norm.
    Returns:
        ``l2``, the length over all of them; ``relative``, this divided by the length of the first model's parameters
        (NaN if that is 0); ``layers``, the length by name.
    Source: Golatkar et al. 2020; Andreou et al. 2026 (SUPREME), layer-wise distance.
    """
    layers = {name: float((first[name].double() - second[name].double()).norm()) for name in parameters}
    total = math.hypot(*layers.values())
    length = math.hypot(*(float(first[name].double().norm()) for name in parameters))
    return {"l2": total, "relative": total / length if length else math.nan, "layers": layers}


def weight_changes(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], groups: Mapping[str, Collection[str]]
) -> dict[str, tuple[float, float]]:
    """How far groups of parameters, such as layers, are apart in two models.

    Args:
        first, second: state dicts.
        groups: names of parameters by group.
    Returns:
        By group, the length of the difference relative to the length of the first model's (NaN if that is 0), and the
        share of its numbers that differ, in [0, 1].
    """
    changes = {}
    for group, names in groups.items():
        distance = weight_distance(first, second, names)["relative"]
        differing = sum(int((first[name] != second[name]).sum()) for name in names)
        changes[group] = distance, differing / max(sum(first[name].numel() for name in names), 1)
    return changes
