"""CF-k and EU-k: train the last blocks alone on the retain set, as they are or from new weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearn.benchmark import FRACTION, PAPER, WEIGHT_DECAY, Benchmarked, benchmarked, reference_drops
from utils.options import changed, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainer.task import Batch, Figures
    from unlearn.context import Context, Sets


@dataclass(frozen=True)
class Config(Benchmarked):
    blocks: int = option(
        1, "how many of the last blocks train, with everything behind them", low=1, search=(1, 10, "linear")
    )
    anchor: float = option(
        0.1, "weight of half the squared distance from where training starts", low=0, search=WEIGHT_DECAY
    )
    momentum: float = changed(Benchmarked, "momentum", 0.0)
    eval_mode: bool = changed(Benchmarked, "eval_mode", True)
    weight_decay: float = changed(Benchmarked, "weight_decay", 0.0, search=None)
    schedule: str = changed(Benchmarked, "schedule", "drops")
    lr_decay_rate: float = option(0.1, "factor of the step size at each drop", low=0, high=1, search=FRACTION)


@dataclass(frozen=True)
class ExactConfig(Config):
    no_aug: bool = changed(Benchmarked, "no_aug", False)
    eval_mode: bool = changed(
        Benchmarked, "eval_mode", False, help="new batch norms keep and use old statistics, as with --compat reference"
    )


_SHARED = {"reads": {"retain"}, "source": f"Goel et al. 2022; {PAPER}"}


@benchmarked(
    "CF-k",
    config=Config,
    summary="catastrophic forgetting: train the last blocks alone on the retain set",
    aliases=("cfk",),
    **_SHARED,
)
def last_blocks(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend CE + anchor / 2 * |theta - theta_start|^2 over the last blocks' weights, in eval mode."""
    from unlearn import layers

    _train(model, sets, config, context, layers.tail(model, config.blocks))


@benchmarked(
    "EU-k",
    config=ExactConfig,
    summary="exact unlearning: train the last blocks alone, from new weights",
    aliases=("euk",),
    reshapes="draws weights anew",
    **_SHARED,
)
def new_last_blocks(model: nn.Module, sets: Sets, config: ExactConfig, context: Context) -> None:
    """Give the last blocks new weights, then train like CF-k; their batch norm starts afresh and follows, all else is in eval mode.

    With ``--compat reference`` these batch norms keep and use the old weights' statistics.
    """
    from pruner import MaskEnforcer
    from unlearn import layers, reinitialise

    config = replace(config, eval_mode=True) if context.compat == "reference" else config
    blocks = layers.tail(model, config.blocks)
    reinitialise.reset_blocks(blocks, context.draws, keep_statistics=config.eval_mode)
    MaskEnforcer(model, context.mask)
    _train(model, sets, config, context, blocks, layers.outside(model, blocks))


def _train(
    model: nn.Module,
    sets: Sets,
    config: Config,
    context: Context,
    blocks: dict[str, nn.Module],
    eval_modules: Sequence[nn.Module] = (),
) -> None:
    from unlearn import layers
    from unlearn.penalty import squared_distance

    config = reference_drops(config, late=1) if context.compat == "reference" else config
    start = {name: model.get_parameter(name).detach().clone() for name in layers.parameter_names(blocks)}

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        loss, figures = context.task.mean(model, batch)
        return loss + config.anchor / 2 * squared_distance(model, start), figures

    with layers.train_only(model, set(start)):
        context.fit(model, sets.retain, config, objective, eval_modules=eval_modules)
