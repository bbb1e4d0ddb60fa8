"""PRMQ (Prune, Reinitialise, Match, Quantise): most weights are drawn anew and trained to the original's entropies."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.benchmark import FRACTION, Entry, challenge_entry
from unlearn.registry import about
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Entry):
    unlearn_epochs: float = changed(  # type: ignore[assignment]  # alone in having parts of a pass
        Entry, "unlearn_epochs", 3.2, help="passes over the retain set, not necessarily whole"
    )
    unlearn_lr: float = changed(Entry, "unlearn_lr", 5e-4)
    schedule: str = changed(Entry, "schedule", "constant")
    prune_amount: float = option(
        0.99, "fraction of the kept weights and biases of all layers that is given up", low=0, high=1, search=FRACTION
    )


@challenge_entry("PRMQ", 4, config=Config, reads={"retain"}, reshapes="draws weights anew")
@about("prune, reinitialise, match, quantise: most weights are drawn anew and trained to the original's entropies")
def prune_reinitialise_match_quantise(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend CE weighted by n_c^-0.1 plus the squared distance of the outputs' entropies from the original's.

    Before this, the smallest weights of all layers together are drawn anew from U(-1/sqrt(fan-in), 1/sqrt(fan-in)), and
    the smallest biases become 0. Pruned weights stay pruned. There are ``int(batches * epochs) + 1`` steps. Afterwards
    all numbers are rounded to half precision.
    """
    import torch
    import torch.nn.functional as F

    from trainer.task import accuracy
    from unlearn.distill import entropy, teacher_of
    from unlearn.layers import quantise
    from unlearn.reinitialise import reset_smallest

    teacher = teacher_of(model)
    reset_smallest(model, config.prune_amount, context)
    weights = torch.bincount(sets.retain.labels, minlength=context.classes).clamp(min=1) ** -0.1

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        logits = model(batch.inputs)
        matching = F.mse_loss(entropy(logits), entropy(teacher(batch.inputs)))
        loss = F.cross_entropy(logits, batch.targets, weight=weights) + matching
        return loss, accuracy(logits, batch.targets)

    steps = int(len(sets.retain.sizes(config.batch_size)) * config.unlearn_epochs) + 1
    context.fit(model, sets.retain, config, objective, steps=steps)
    quantise(model)
