"""KDE (Knowledge Distillation with Entropy): new first and last layers, distilled on unseen images, then fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearn.benchmark import EPOCHS, LR, OWN, PAPER, TEMPERATURE, WEIGHT_DECAY, Benchmarked
from unlearn.registry import method
from utils.options import changed, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unlearn.context import Context, Sets


@dataclass(frozen=True)
class Config(Benchmarked):
    unlearn_epochs: int = changed(Benchmarked, "unlearn_epochs", 3)
    unlearn_lr: float = changed(Benchmarked, "unlearn_lr", 1e-3)
    batch_size: int = changed(Benchmarked, "batch_size", 64)
    schedule: str = changed(Benchmarked, "schedule", "cosine")
    distil_epochs: int = option(
        3, "passes over the validation images, before those over the retain set", low=0, search=EPOCHS
    )
    distil_lr: float = option(9e-4, "step size there", above=0, search=LR)
    distil_weight_decay: float = option(5e-4, "weight decay there", low=0, search=WEIGHT_DECAY)
    temperature: float = option(5.0, "softens the outputs of teacher and student", above=0, search=TEMPERATURE)


@method(
    "KDE",
    config=Config,
    reads={"retain", "val"},
    summary="knowledge distillation with entropy: new first and last layers, distilled on validation images, then fine-tuned",
    source=f"an entry of the NeurIPS 2023 unlearning challenge; {PAPER}",
    aliases=("kgltop6",),
    presets=OWN,
    trains_on_val=True,
    reshapes="draws weights anew",
)
def distil_with_entropy(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend KL(q || s) on validation images, then -sum q log s + CE + KL(q || s) on the retain set.

    q and s are the softened outputs of the original and of the student, whose first and last layer
    were drawn anew.
    """
    import torch.nn.functional as F

    from pruner import MaskEnforcer
    from unlearn import layers
    from unlearn.distill import distillation, teacher_of

    teacher = teacher_of(model)
    for name, layer in (layers.stem(model), layers.named_head(model)):
        layers.reset(name, layer, context.draws, "reset")
    MaskEnforcer(model, context.mask)

    def imitate(model: nn.Module, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        logits = model(images)
        return distillation(teacher(images), logits, config.temperature), logits

    def strengthen(model: nn.Module, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        logits, wanted = model(images), teacher(images)
        soft = F.cross_entropy(logits / config.temperature, F.softmax(wanted / config.temperature, dim=1))
        return soft + F.cross_entropy(logits, labels) + distillation(wanted, logits, config.temperature), logits

    first = replace(
        config,
        unlearn_epochs=config.distil_epochs,
        unlearn_lr=config.distil_lr,
        weight_decay=config.distil_weight_decay,
        schedule="constant",
        warmup=0,
    )
    context.fit(model, sets.val, first, imitate)
    context.fit(model, sets.retain, config, strengthen)
