"""SCRUB: move away from the original on the forget set, stay close on the retain set, and choose the best epoch."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.benchmark import EPOCHS, FRACTION, PAPER, SFRON, TEMPERATURE, Benchmarked, benchmarked, reference_drops
from unlearn.registry import ALPHA, about
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Benchmarked):
    unlearn_epochs: int = changed(Benchmarked, "unlearn_epochs", 5)
    unlearn_lr: float = changed(Benchmarked, "unlearn_lr", 5e-4)
    batch_size: int = changed(Benchmarked, "batch_size", 32, help="retain images per step")
    forget_batch_size: int = option(64, "forget images per step", low=1, search=[64, 128, 256])
    schedule: str = changed(Benchmarked, "schedule", "drops")
    lr_decay_rate: float = option(0.1, "factor of the step size at each drop", low=0, high=1)
    max_steps: int = option(3, "first epochs that begin with a pass over the forget set", low=0, search=EPOCHS)
    gamma: float = option(1.0, "weight of the cross-entropy on the retain set", low=0, search=FRACTION)
    alpha: float = option(0.5, "weight of the distillation on the retain set", common=ALPHA, low=0, search=FRACTION)
    no_rewind: bool = option(False, "keep the last epoch's weights: SCRUB without its +R")
    temperature: float = option(2.0, "softens the outputs of teacher and student", above=0, search=TEMPERATURE)


@benchmarked("SCRUB", config=Config, reads={"retain", "forget", "val"}, aliases=("scrubv2", "SCRUB+R"))
@about(
    "part from the original on the forget set, stay with it on the retain set, rewind to the fitting epoch",
    source=f"Kurmanji et al. 2023 (SCRUB+R); {PAPER}; preset sfron: {SFRON}",
)
def scrub(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Climb D on the forget set in the first ``max_steps`` epochs, descend gamma * CE + alpha * D on the retain set.

    D = T^2 KL(original || student). Of the weights before the first and after every epoch, those are chosen whose
    error on the forget set is nearest to the last weights' error on validation images of the forget set's classes.
    These images are not trained on. With ``--compat reference`` the last weights are kept if the first are chosen.
    """
    import torch.nn.functional as F

    from trainer.steps import Pass
    from trainer.task import accuracy
    from unlearn.distill import distillation, teacher_of
    from unlearn.rewind import rewind

    teacher = teacher_of(model)

    def distance(images: Tensor, logits: Tensor) -> Tensor:
        return config.temperature**2 * distillation(teacher(images), logits, config.temperature)

    def part(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        logits = model(batch.inputs)
        return -distance(batch.inputs, logits), accuracy(logits, batch.targets)

    def stay(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        logits = model(batch.inputs)
        loss = config.gamma * F.cross_entropy(logits, batch.targets) + config.alpha * distance(batch.inputs, logits)
        return loss, accuracy(logits, batch.targets)

    passes = [
        Pass(sets.forget.in_order(), part, batch_size=config.forget_batch_size, epochs=config.max_steps),
        Pass(sets.retain, stay),
    ]
    settings = reference_drops(config, late=0) if context.compat == "reference" else config
    if config.no_rewind:
        context.fit(model, passes, settings)
    else:
        rewind(model, sets, context, lambda before: context.fit(model, passes, settings, before=before))
