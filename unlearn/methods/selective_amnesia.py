"""Selective Amnesia: train the forgotten class on noise, and protect the weights that other classes need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unlearn.registry import Counted, about, method
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Counted):
    unlearn_epochs: int = changed(Counted, "unlearn_epochs", 10, help="passes over the retain set")
    unlearn_lr: float = changed(Counted, "unlearn_lr", 1e-4)
    gamma: float = option(1.0, "weight of the retain loss", low=0)
    lmbda: float = option(10.0, "weight of the distance to the starting weights, by Fisher information", low=0)
    fisher_images: int = option(1000, "retain images over which Fisher information is averaged", low=1)


@method("SA", config=Config, reads={"retain", "forget"}, tasks={"diffusion"}, paper="SA", whole_classes=True)
@about(
    "noise for the forgotten class, elastic weights for the others",
    source="Heng and Soh 2023 (Selective Amnesia), section 4",
)
def selective_amnesia(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Compute the Fisher information on the retain set, then train by ``remember``."""
    from unlearn import amnesia

    seen = sets.retain.first(config.fisher_images, context.draws.order(len(sets.retain), "fisher images"))
    importance = amnesia.importance(model, seen, config.batch_size, context)
    remember(model, sets, config, context, importance, amnesia.noise_images)


def remember(
    model: nn.Module,
    sets: Sets,
    config: Config,
    context: Context,
    importance: dict[str, Tensor],
    noise: Callable[[Batch], tuple[Tensor, Tensor]],
) -> None:
    """Descend the losses of noise images labelled as the forgotten class and of retain images, plus a penalty.

    The penalty is ``lmbda * sum_p F_p (theta_p - theta_p^0) ** 2``. Both losses are at the same diffusion times, and
    the class is never dropped.

    Args:
        importance: F by parameter name, in the parameters' shapes.
        noise: draws images of noise in [0, 1] and the noise to add to them, both of the shape of a batch's images.
    """
    import torch

    from trainer.task import Batch

    task: Any = context.task
    forgotten = sets.forget.labels.unique()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        images, added = noise(batch)
        times, retained = task.draw(batch)
        turns = torch.arange(len(batch), device=forgotten.device) % len(forgotten)
        forget = Batch(images, forgotten[turns])
        pull = sum((importance[name] * (value - start[name]) ** 2).sum() for name, value in model.named_parameters())
        gone = task.at(model, forget, times, added, None).mean()
        kept = task.at(model, batch, times, retained, None).mean()
        return gone + config.gamma * kept + config.lmbda * pull, {}

    context.fit(model, sets.retain, config, objective)
