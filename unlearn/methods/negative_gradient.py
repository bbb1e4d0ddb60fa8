"""NG+: descend the retain loss and climb the forget loss in the same step."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.benchmark import FRACTION, PAPER, Benchmarked, benchmarked
from unlearn.registry import ALPHA, about
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Benchmarked):
    alpha: float = option(
        0.95, "weight of the retain loss; the forget loss has the rest", common=ALPHA, low=0, high=1, search=FRACTION
    )
    anchor: float = option(0.0, "weight of half the squared distance from the original, beside the retain loss", low=0)
    forget_batch_size: int | None = option(None, "forget images per step; without it --batch_size", low=1)
    weight_decay: float = changed(Benchmarked, "weight_decay", 0.0)
    eval_mode: bool = changed(Benchmarked, "eval_mode", True)


@benchmarked("NG+", config=Config, reads={"retain", "forget"}, aliases=("neggradplus", "NegGrad+"), tasks=None)
@about(
    "descend the retain loss and climb the forget loss in the same step",
    source=f"Kurmanji et al. 2023 (NegGrad+); {PAPER}",
)
def negative_gradient(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend alpha * (L(retain) + anchor / 2 * |theta - theta_0|^2) - (1 - alpha) * L(forget).

    Every step has a batch of each set. An epoch is a pass over the retain set, in which forget batches repeat. By
    default the network is in eval mode, so batch norm uses its running statistics and does not change them.
    """
    from dataset.pairs import Paired
    from unlearn.penalty import squared_distance

    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()} if config.anchor else {}

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        retain, figures = context.task.mean(model, batch.part(0))
        forget = context.task.climbed(model, batch.part(1))[0].mean()
        if start:
            retain = retain + config.anchor / 2 * squared_distance(model, start)
        return config.alpha * retain - (1 - config.alpha) * forget, figures

    context.fit(model, Paired(sets.retain, sets.forget, config.forget_batch_size), config, objective)
