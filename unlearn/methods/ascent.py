"""GA: climb the loss of the forget set."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.registry import ALPHA, Counted, about, method
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Counted):
    unlearn_epochs: int = changed(Counted, "unlearn_epochs", 5, help="passes over the forget set")
    unlearn_lr: float = changed(Counted, "unlearn_lr", 1e-4)


@dataclass(frozen=True)
class SparseConfig(Config):
    alpha: float = option(1e-4, "weight of the l1 penalty", common=ALPHA, low=0, search=(1e-6, 1e-2, "log"))


@method("GA", config=Config, reads={"forget"}, aliases=("gradient_ascent", "GradAscent"))
@about("gradient ascent on the forget set", source="Jia et al. 2023, section 2; Graves et al. 2021; Thudi et al. 2022")
def ascent(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the negative loss on the forget set; batch-norm statistics follow that set too."""
    _climb(model, sets, config, context, alpha=0.0)


@method("GA_l1", config=SparseConfig, reads={"forget"}, paper="GA + l1")
@about("gradient ascent on the forget set with a constant l1 penalty", source="Jia et al. 2023, released code")
def sparse_ascent(model: nn.Module, sets: Sets, config: SparseConfig, context: Context) -> None:
    """Descend the negative loss plus ``alpha`` times the l1 norm of all parameters."""
    _climb(model, sets, config, context, config.alpha)


def _climb(model: nn.Module, sets: Sets, config: Config, context: Context, alpha: float) -> None:
    from trainer.steps import Pass

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        losses, figures = context.task.climbed(model, batch)
        return -losses.mean(), figures

    context.fit(model, [Pass(sets.forget, objective, l1=lambda epoch: alpha)], config)
