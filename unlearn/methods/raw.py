"""raw: change nothing and score the model as it was trained."""

from __future__ import annotations

from unlearn.registry import NoOptions, about, method
from unlearn.signature import Context, Sets, nn


@method("raw", reads=set(), paper="Original", aliases=("original", "Original", "Baseline"))
@about("score the model as it is", source="the starting point of every method")
def raw(model: nn.Module, sets: Sets, config: NoOptions, context: Context) -> None:
    """Leave the model unchanged."""
