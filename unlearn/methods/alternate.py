"""FT_prune_bi: prune a little, fine-tune an epoch or two, and so on to the wanted sparsity."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.registry import Iterative, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import option


@dataclass(frozen=True)
class Config(Iterative):
    rate: float = option(0.95, "fraction of the remaining prunable weights that is gone at the end", low=0, below=1)
    random_prune: bool = option(False, "prune at random instead of by magnitude")


@method("FT_prune_bi", config=Config, reads={"retain"}, paper="FT + pruning", reshapes="prunes weights")
@about("fine-tune on the retain set, pruning every other epoch", source="Jia et al. 2023, released code")
def alternate(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the loss on the retain set, pruning 1 - (1 - rate) ** (1 / K) of what is left before each of K epochs.

    Counted from the end these are the second-last epoch, the fourth-last and so on, so the last epoch is for recovery.
    """
    import pruner
    from pruner import passage
    from utils import seeds

    times = [epoch for epoch in range(config.unlearn_epochs) if (config.unlearn_epochs - epoch) % 2 == 0] or [0]
    share = 1 - (1 - config.rate) ** (1 / len(times))

    def shrink(epoch: int) -> None:
        if epoch not in times:
            return
        score = "random" if config.random_prune else "magnitude"
        sample = pruner.Sample(seeds.derive(context.seed, "pruning", epoch))
        context.mask = pruner.prune(model, score, share, sample, context.mask)
        with context.clock.paused():
            passage.warn(model, context.mask, sets.retain, context.log)

    context.fit(model, sets.retain, config, before=shrink)
