"""CFW (Confuse, Fine-tune, Weaken): noise on the first layer before and near the end of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.benchmark import FRACTION, Entry, challenge_entry
from unlearn.registry import about
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Entry):
    unlearn_epochs: int = changed(Entry, "unlearn_epochs", 4)
    unlearn_lr: float = changed(Entry, "unlearn_lr", 7e-4)
    start_std: float = option(0.6, "standard deviation of the first noise", low=0, search=FRACTION)
    final_std: float = option(
        0.005, "standard deviation of the noise before the last epoch, if there are two", low=0, search=FRACTION
    )


@challenge_entry("CFW", 3, config=Config, reads={"retain"}, reshapes="adds noise to weights")
@about("confuse, fine-tune, weaken: noise on the first layer before and near the end of fine-tuning")
def confuse_finetune_weaken(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Add N(0, std^2) to the first layer's weights, then descend the cross-entropy weighted by n / (K n_c).

    n is the number of retain images, K that of their classes, and n_c that of images of a class. With ``--compat
    reference`` every image of a batch has the mean of the batch's weights.
    """
    import torch

    from pruner import MaskEnforcer
    from unlearn import layers

    name, stem = layers.stem(model)
    counts = torch.bincount(sets.retain.labels, minlength=context.classes)
    weights = len(sets.retain) / (int(counts.count_nonzero()) * counts.clamp(min=1))

    @torch.no_grad()
    def confuse(std: float, when: str) -> None:
        stem.weight.add_(context.draws.normal(f"{name}.weight", stem.weight, "noise", when), alpha=std)

    def weaken(epoch: int) -> None:
        if 0 < epoch == config.unlearn_epochs - 1:
            confuse(config.final_std, "final")

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        losses, figures = context.task.losses(model, batch)
        weight = weights[batch.targets]
        return ((weight.mean() if context.compat == "reference" else weight) * losses).mean(), figures

    confuse(config.start_std, "start")
    MaskEnforcer(model, context.mask)
    context.fit(model, sets.retain, config, objective, before=weaken)
