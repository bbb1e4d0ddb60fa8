"""RL and SalUn: teach the forget set wrong labels while keeping the retain set; SalUn changes salient weights only."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.benchmark import PAPER
from unlearn.registry import Counted, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Counted):
    unlearn_epochs: int = changed(Counted, "unlearn_epochs", 10, help="passes over both sets")
    unlearn_lr: float = changed(Counted, "unlearn_lr", 0.013, search=(5e-4, 0.05, "log"))
    order: str | None = option(
        None,
        "an epoch is one shuffled pass over both sets (joint), or one over the forget set, then one over the retain "
        "set (alternate; with --compat reference, but for cifar100), or every step has a batch of each (paired)",
        choices=("joint", "alternate", "paired"),
    )
    relabel: str = option("epoch", "wrong labels are drawn for every epoch, or once", choices=("epoch", "once"))
    unlearn_loss: str = option(
        "rl",
        "with --order paired: teach wrong targets (rl), or climb the forget loss (ga)",
        choices=("rl", "ga"),
        identity="changed",
    )
    forget_alpha: float = option(1.0, "with --order paired: weight of the forget loss", low=0, identity="changed")
    remain_alpha: float = option(1.0, "with --order paired: weight of the retain loss", low=0, identity="changed")


@dataclass(frozen=True)
class SalUnConfig(Config):
    saliency_threshold: float | None = changed(Config, "saliency_threshold", 0.5, search=(0.1, 0.9, "linear"))


@method("RL", config=Config, reads={"retain", "forget"}, aliases=("RandomLabel",))
@about(
    "random labels for the forget set, true ones for the retain set",
    source="Golatkar et al. 2020; Graves et al. 2021; Fan et al. 2024",
)
@method("SalUn", config=SalUnConfig, reads={"retain", "forget"}, aliases=("salun", "SalUN"))
@about(
    "random labels, changing only the weights that matter for the forget set",
    source=f"Fan et al. 2024 (SalUn), section 4; preset deepunlearn: {PAPER}",
)
def relabel(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the loss towards random targets on the forget set and towards the true ones on the retain set."""
    from unlearn.wrong_targets import of_epochs, train

    train(model, sets, config, context, of_epochs(sets, config, context))
