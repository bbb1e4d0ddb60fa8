"""Distance of the weights from those of the model retrained without the forget set."""

from __future__ import annotations

from typing import Any

from evaluation.scoring import Column, Outputs, score

COLUMNS = {
    "WD": Column("length of the difference of all weights from --reference_model's", False, ("l2",)),
    "relative WD": Column("the same as a part of the length of --reference_model's weights", True, ("relative",)),
}


@score("weight_distance", reads=(), columns=COLUMNS)
def weight_distance(outputs: Outputs) -> dict[str, Any] | None:
    """``weight_distance.weight_distance`` from the retrained model, in all and tensor by tensor.

    None without a retrained model, or if names or shapes of the two models' weights differ, as with separate adapters.
    """
    from evaluation import weight_distance

    own, exact = outputs.weights.get("unlearned"), outputs.weights.get("retrained")
    if own is None or exact is None or {n: w.shape for n, w in own.items()} != {n: w.shape for n, w in exact.items()}:
        return None
    return weight_distance.weight_distance(exact, own, own.keys())
