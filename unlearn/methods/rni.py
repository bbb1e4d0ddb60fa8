"""RNI (Repeated Noise Injection): a few parameters at a time get noise and train, then all do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trainer.training_flags import Stepping
from unlearn.benchmark import EPOCHS, FRACTION, LR, WEIGHT_DECAY, Benchmarked, challenge_entry
from unlearn.registry import about
from unlearn.signature import Context, Sets, nn
from utils.options import changed, option

SELECTED = 9  # tensors besides norms that train in an epoch before the last ``fine_epochs``


@dataclass(frozen=True)
class Config(Stepping):
    unlearn_epochs: int = changed(Benchmarked, "unlearn_epochs", 9)
    unlearn_lr: float = changed(Benchmarked, "unlearn_lr", 2e-4)
    batch_size: int = changed(Stepping, "batch_size", 64)
    no_aug: bool = changed(Benchmarked, "no_aug", True)
    reset_epochs: int = option(1, "first epochs without noise", low=0, search=EPOCHS)
    noise_ratio: float = option(0.7, "fraction of the selected ones that gets noise", low=0, high=1, search=FRACTION)
    noise_std: float = option(0.04, "standard deviation of the noise", low=0, search=FRACTION)
    fine_epochs: int = option(4, "last epochs, in which everything trains", low=0, search=EPOCHS)
    fine_lr: tuple[float, ...] = option(
        (2e-4, 2e-4, 2e-4, 1e-3, 1e-3, 1e-4),
        "step sizes there, one per epoch; the last one holds on",
        above=0,
        metavar="X,X",
        search=LR,
    )
    fine_weight_decay: float = option(5e-4, "weight decay there", low=0, search=WEIGHT_DECAY)


@challenge_entry("RNI", 7, config=Config, reads={"retain"}, reshapes="draws weights anew")
@about("repeated noise injection: a few parameters at a time get noise and train, then all do")
def repeated_noise(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Draw the head anew; then each epoch descends the loss on the retain set with an optimiser of its own.

    Before the last ``fine_epochs``, only nine random tensors and all norms train. After the first ``reset_epochs``,
    noise N(0, std^2) is added to a share of these nine before they train, except to those that an earlier epoch chose.
    """
    import torch

    import models
    from pruner import MaskEnforcer
    from unlearn import layers, reinitialise

    reinitialise.reset(*models.named_head(model), context.draws, "reset")
    norms = layers.norm_parameters(model, by_name=context.compat == "reference")
    ordinary = [name for name, _ in model.named_parameters() if name not in norms]
    before: set[str] = set()
    for epoch in range(config.unlearn_epochs):
        fine = epoch - (config.unlearn_epochs - config.fine_epochs)
        selected = ordinary if fine >= 0 else context.draws.pick(ordinary, SELECTED, "selected", epoch)
        if fine < 0 and epoch >= config.reset_epochs:
            for name in context.draws.pick(selected, int(config.noise_ratio * len(selected)), "noisy", epoch):
                if name not in before:
                    parameter = model.get_parameter(name)
                    with torch.no_grad():
                        parameter.add_(context.draws.normal(name, parameter, "noise", epoch), alpha=config.noise_std)
        before |= set(selected)
        MaskEnforcer(model, context.mask)
        lr = config.unlearn_lr if fine < 0 else config.fine_lr[min(fine, len(config.fine_lr) - 1)]
        decay = config.weight_decay if fine < 0 else config.fine_weight_decay
        step = replace(config, unlearn_epochs=1, unlearn_lr=lr, weight_decay=decay)
        with layers.train_only(model, norms | set(selected)):
            context.fit(model, sets.retain, step)
