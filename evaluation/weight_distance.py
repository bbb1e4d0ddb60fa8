"""How far two models' weights are apart, in all and tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor


def weight_distance(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], parameters: Collection[str]
) -> dict[str, Any]:
    """Lengths of the difference of two models' parameters; batch norm's statistics do not count.

    Args:
        first, second: state dicts.
        parameters: names of the entries that are parameters.
    Returns:
        ``l2`` over all of them, ``relative`` to the length of the first model's, and ``layers``, by name.
    Source: Golatkar et al. 2020; Andreou et al. 2026 (SUPREME), layer-wise distance.
    """
    layers = {name: float((first[name].double() - second[name].double()).norm()) for name in parameters}
    whole = math.hypot(*layers.values())
    length = math.hypot(*(float(first[name].double().norm()) for name in parameters))
    return {"l2": whole, "relative": whole / length if length else math.nan, "layers": layers}
