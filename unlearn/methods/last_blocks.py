"""CF-k and EU-k: train only the last blocks on the retain set, from the present or from new weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unlearn.benchmark import FRACTION, PAPER, WEIGHT_DECAY, Benchmarked, benchmarked
from unlearn.signature import Context, Sets, nn
from utils.options import changed, option


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
    """Descend the loss plus anchor / 2 * |theta - theta_start|^2 over the last blocks' weights, in eval mode."""
    from unlearn import layers
    from unlearn.anchored import train

    train(model, sets, config, context, layers.tail(model, config.blocks))


@benchmarked(
    "EU-k",
    config=ExactConfig,
    summary="exact unlearning: train the last blocks alone, from new weights",
    aliases=("euk",),
    reshapes="draws weights anew",
    **_SHARED,
)
def new_last_blocks(model: nn.Module, sets: Sets, config: ExactConfig, context: Context) -> None:
    """Give the last blocks new weights and train them. Their batch norms start anew; all else is in eval mode.

    With ``--compat reference`` these batch norms keep and use the old statistics.
    """
    from pruner import MaskEnforcer
    from unlearn import layers, reinitialise
    from unlearn.anchored import train

    config = replace(config, eval_mode=True) if context.compat == "reference" else config
    blocks = layers.tail(model, config.blocks)
    reinitialise.reset_blocks(blocks, context.draws, keep_statistics=config.eval_mode)
    MaskEnforcer(model, context.mask)
    train(model, sets, config, context, blocks, layers.outside(model, blocks))
