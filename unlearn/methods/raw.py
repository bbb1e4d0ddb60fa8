"""raw: change nothing and score the model as it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn.registry import NoOptions, method

if TYPE_CHECKING:
    from torch import nn

    from unlearn.context import Context, Sets


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
