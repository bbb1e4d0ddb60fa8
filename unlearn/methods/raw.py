"""raw: change nothing and score the model as it was trained."""

from __future__ import annotations

from unlearn.registry import NoOptions, method
from unlearn.signature import Context, Sets, nn


@method(
    "raw",
    reads=set(),
    summary="score the model as it is",
    paper="Original",
    source="the starting point of every method",
    aliases=("original", "Original", "Baseline"),
)
def raw(model: nn.Module, sets: Sets, config: NoOptions, context: Context) -> None:
    """Does nothing."""
