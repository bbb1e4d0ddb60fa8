"""KDE (Knowledge Distillation with Entropy): new first and last layers, distilled on unseen images, then fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unlearn.benchmark import EPOCHS, LR, TEMPERATURE, WEIGHT_DECAY, Entry, challenge_entry
from unlearn.registry import about
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import option


@dataclass(frozen=True)
class Config(Entry):
    distil_epochs: int = option(
        3, "passes over the validation images, before those over the retain set", low=0, search=EPOCHS
    )
    distil_lr: float = option(9e-4, "step size there", above=0, search=LR)
    distil_weight_decay: float = option(5e-4, "weight decay there", low=0, search=WEIGHT_DECAY)
    temperature: float = option(5.0, "softens the outputs of teacher and student", above=0, search=TEMPERATURE)


@challenge_entry("KDE", 6, config=Config, reads={"retain", "val"}, trains_on_val=True, reshapes="draws weights anew")
@about(
    "knowledge distillation with entropy: new first and last layers, distilled on validation images, then fine-tuned"
)
def distil_with_entropy(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend KL(q || s) on validation images, then -sum q log s + CE + KL(q || s) on the retain set.

    q and s are the softened outputs of the original and of the student, whose first and last layer get new weights
    before.
    """
    import torch.nn.functional as F

    import models
    from pruner import MaskEnforcer
    from trainer.task import accuracy
    from unlearn import layers, reinitialise
    from unlearn.distill import distillation, teacher_of

    teacher = teacher_of(model)
    for name, layer in (layers.stem(model), models.named_head(model)):
        reinitialise.reset(name, layer, context.draws, "reset")
    MaskEnforcer(model, context.mask)

    def imitate(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        logits = model(batch.inputs)
        return distillation(teacher(batch.inputs), logits, config.temperature), accuracy(logits, batch.targets)

    def strengthen(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        logits, targets = model(batch.inputs), teacher(batch.inputs)
        soft = F.cross_entropy(logits / config.temperature, F.softmax(targets / config.temperature, dim=1))
        loss = soft + F.cross_entropy(logits, batch.targets) + distillation(targets, logits, config.temperature)
        return loss, accuracy(logits, batch.targets)

    first = replace(config, unlearn_epochs=config.distil_epochs, unlearn_lr=config.distil_lr, warmup=0)
    first = replace(first, weight_decay=config.distil_weight_decay, schedule="constant")
    context.fit(model, sets.val, first, imitate)
    context.fit(model, sets.retain, config, strengthen)
