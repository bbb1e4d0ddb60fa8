"""Retrain: the exact answer, a model that never saw the forget set."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn.registry import Iterative, method
from utils.options import option

if TYPE_CHECKING:
    from torch import nn

    from unlearn.context import Context, Sets


@dataclass(frozen=True)
class Config(Iterative):
    unlearn_epochs: int = option(160, "passes over the retain set", low=0)
    unlearn_lr: float = option(0.1, "SGD step size", above=0)


@method(
    "retrain",
    config=Config,
    reads={"retain"},
    fresh=True,
    summary="train new weights on the retain set only, under the same mask",
    paper="Retrain",
    source="Jia et al. 2023, section 2",
)
def retrain(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Cross-entropy on the retain set; the caller hands over freshly initialised, masked weights."""
    context.fit(model, sets.retain, config)
