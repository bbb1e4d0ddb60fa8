"""SRL: train on everything, the forget set under random labels that change every epoch."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.benchmark import PAPER, Benchmarked, benchmarked
from unlearn.registry import about
from unlearn.signature import Context, Sets, Tensor, nn
from utils.options import changed


@dataclass(frozen=True)
class Config(Benchmarked):
    unlearn_epochs: int = changed(Benchmarked, "unlearn_epochs", 5)
    unlearn_lr: float = changed(Benchmarked, "unlearn_lr", 0.1)


@benchmarked("SRL", config=Config, reads={"retain", "forget"}, aliases=("successive_random_labels",))
@about(
    "train on everything, the forget set under random labels that change every epoch",
    source=f"{PAPER}; Golatkar et al. 2020 (random labels)",
)
def successive_labels(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the cross-entropy on retain images and on forget images, whose labels are drawn anew every epoch.

    The draw can also give the true label.
    """
    from dataset.combined import union

    def labels(epoch: int) -> Tensor:
        return context.draws.labels(sets.forget.labels, context.classes, "random labels", epoch)

    context.fit(model, lambda epoch: union(sets.forget.relabelled(labels(epoch)), sets.retain), config)
