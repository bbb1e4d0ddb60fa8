"""FCS (Forget, Contrast, Strengthen): outputs on the forget set become uniform, then unlike those on the retain set."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unlearn.benchmark import LR, TEMPERATURE, WEIGHT_DECAY, Benchmarked, challenge_entry
from unlearn.registry import about
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option

REFERENCE_BATCH = 64  # the batch size that ``unlearn_lr`` is meant for


@dataclass(frozen=True)
class Config(Benchmarked):
    unlearn_epochs: int = changed(Benchmarked, "unlearn_epochs", 8, help="rounds of a forget and a retain pass")
    unlearn_lr: float = changed(
        Benchmarked, "unlearn_lr", 1e-3, help="step size on the retain set for batches of 64, grows with --batch_size"
    )
    weight_decay: float = changed(Benchmarked, "weight_decay", 1e-2, help="weight decay on the retain set")
    forget_batch_size: int | None = option(None, "forget images per step; without it --batch_size", low=1)
    erase_lr: float = option(5e-3, "step size of the first pass over the forget set", above=0, search=LR)
    erase_weight_decay: float = option(0.0, "weight decay of that pass", low=0, search=WEIGHT_DECAY)
    contrast_lr: float = option(3e-4, "step size of the later ones, at their beginning", above=0, search=LR)
    contrast_floor: float = option(1e-6, "step size of these at their end", low=0, search=(1e-6, 1e-1, "log"))
    contrast_weight_decay: float = option(0.0, "weight decay of these passes", low=0, search=WEIGHT_DECAY)
    temperature: float = option(1.15, "softens the similarities of outputs", above=0, search=TEMPERATURE)


@challenge_entry("FCS", 1, config=Config, reads={"retain", "forget"})
@about("forget, contrast, strengthen: uniform outputs on the forget set, then outputs unlike the retain set's")
def forget_contrast_strengthen(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """One pass over the forget set descends KL(uniform || p). Then every epoch has a forget and a retain pass.

    The forget pass descends the mean of -log softmax_j(a_i . b_j / T) over logits a_i of forget and
    b_j of retain images, the retain pass the cross-entropy. The three kinds of pass have optimisers of their own.
    """
    import torch
    import torch.nn.functional as F

    from dataset.pairs import Paired
    from trainer.recipe import recipe
    from trainer.steps import Pass
    from trainer.task import accuracy
    from unlearn.distill import from_uniform

    def erase(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        logits = model(batch.inputs)
        return from_uniform(logits), accuracy(logits, batch.targets)

    def contrast(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        logits = model(batch.inputs[0])
        with torch.no_grad():
            retained = model(batch.inputs[1])
        loss = -F.log_softmax(logits @ retained.T / config.temperature, dim=1).mean()
        return loss, accuracy(logits, batch.targets[0])

    size = config.forget_batch_size or config.batch_size
    once = replace(config, unlearn_epochs=1, batch_size=size, schedule="constant", warmup=0)
    once = replace(once, unlearn_lr=config.erase_lr, weight_decay=config.erase_weight_decay)
    context.fit(model, sets.forget, once, erase)
    falling = recipe(config, config.unlearn_epochs, config.contrast_lr, schedule="smooth", warmup=0)
    falling = replace(falling, floor=config.contrast_floor, weight_decay=config.contrast_weight_decay)
    pairs = Paired(sets.forget, sets.retain, config.batch_size, cycle=False)
    scaled = replace(config, unlearn_lr=config.unlearn_lr * config.batch_size / REFERENCE_BATCH)
    context.fit(model, [Pass(pairs, contrast, falling, size), Pass(sets.retain, context.task.mean)], scaled)
