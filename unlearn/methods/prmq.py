"""PRMQ (Prune, Reinitialise, Match, Quantise): nearly all weights are drawn anew and trained to the original's entropies."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearn.benchmark import FRACTION, OWN, PAPER, Benchmarked
from unlearn.registry import method
from utils.options import changed, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unlearn.context import Context, Sets


@dataclass(frozen=True)
class Config(Benchmarked):
    unlearn_epochs: float = changed(
        Benchmarked, "unlearn_epochs", 3.2, help="passes over the retain set, not necessarily whole"
    )
    unlearn_lr: float = changed(Benchmarked, "unlearn_lr", 5e-4)
    batch_size: int = changed(Benchmarked, "batch_size", 64)
    prune_amount: float = option(
        0.99, "fraction of the kept weights and biases of all layers that is given up", low=0, high=1, search=FRACTION
    )


@method(
    "PRMQ",
    config=Config,
    reads={"retain"},
    summary="prune, reinitialise, match, quantise: most weights are drawn anew and trained to the original's entropies",
    source=f"an entry of the NeurIPS 2023 unlearning challenge; {PAPER}",
    aliases=("kgltop4",),
    presets=OWN,
    reshapes="draws weights anew",
)
def prune_reinitialise_match_quantise(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend CE weighted by n_c^-0.1 plus the squared distance of the outputs' entropies from the original's.

    Before, the smallest weights of all layers together become U(-1/sqrt(fan-in), 1/sqrt(fan-in)),
    biases 0; weights under the mask stay pruned. ``int(batches * epochs) + 1`` steps. Afterwards all
    numbers are rounded to half precision.
    """
    import torch
    import torch.nn.functional as F

    from unlearn.distill import entropy, teacher_of
    from unlearn.layers import quantise

    teacher = teacher_of(model)
    reinitialise(model, config.prune_amount, context)
    weights = torch.bincount(sets.retain.labels, minlength=context.classes).clamp(min=1) ** -0.1

    def objective(model: nn.Module, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        logits = model(images)
        return F.cross_entropy(logits, labels, weight=weights) + F.mse_loss(
            entropy(logits), entropy(teacher(images))
        ), logits

    batches = math.ceil(len(sets.retain) / config.batch_size)
    steps = int(batches * config.unlearn_epochs) + 1
    context.fit(model, sets.retain, replace(config, unlearn_epochs=math.ceil(steps / batches)), objective, steps=steps)
    quantise(model)


def reinitialise(model: nn.Module, amount: float, context: Context) -> None:
    """Zero the smallest ``amount`` of the kept weights and biases of all layers together, then draw weights of 0 anew."""
    import torch

    import pruner
    from unlearn import layers

    parameters = layers.affine(model)
    kept = {name: context.mask.get(name, torch.ones(p.shape, dtype=torch.bool)) for name, p in parameters.items()}
    pruner.MaskEnforcer(model, pruner.choose({name: p.detach().abs() for name, p in parameters.items()}, amount, kept))
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.ndim > 1:
                spread = 2 * parameter[0].numel() ** -0.5
                fresh = (context.draws.uniform(name, parameter, "reinitialised") - 0.5) * spread
                parameter.copy_(torch.where(parameter == 0, fresh, parameter))
    pruner.MaskEnforcer(model, context.mask)
