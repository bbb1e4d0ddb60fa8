"""FT and l1-sparse: fine-tune on the retain set, with or without a pull towards zero."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn.registry import Iterative, method
from utils.options import option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unlearn.context import Context, Sets


@dataclass(frozen=True)
class SparseConfig(Iterative):
    alpha: float = option(1e-4, "weight of the l1 penalty at the first epoch", low=0)
    no_l1_epochs: int = option(0, "last epochs without the penalty", low=0)


@method(
    "FT",
    config=Iterative,
    reads={"retain"},
    summary="fine-tune on the retain set",
    source="Jia et al. 2023, section 2; Golatkar et al. 2020",
)
def finetune(model: nn.Module, sets: Sets, config: Iterative, context: Context) -> None:
    """Cross-entropy on the retain set."""
    context.fit(model, sets.retain, config)


_SPARSE = {"config": SparseConfig, "reads": {"retain"}, "paper": "l1-sparse", "source": "Jia et al. 2023, section 4, eq. 3"}


@method("FT_l1", summary="fine-tune on the retain set with an l1 penalty that decays", **_SPARSE)
@method("FT_prune", summary="the same as FT_l1, under the name the paper's commands use", aliases=("l1-sparse", "l1_sparse"), **_SPARSE)
def l1_sparse(model: nn.Module, sets: Sets, config: SparseConfig, context: Context) -> None:
    """Cross-entropy on the retain set plus gamma_t times the l1 norm of all parameters.

    gamma falls linearly, epoch by epoch, from ``alpha`` towards zero (``gamma``). Nothing is thresholded.
    """
    from trainer.loop import cross_entropy
    from unlearn.penalty import l1_norm

    def objective(model: nn.Module, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        loss, logits = cross_entropy(model, images, labels, epoch)
        weight = gamma(config.alpha, epoch, config.unlearn_epochs, config.no_l1_epochs)
        return (loss + weight * l1_norm(model) if weight else loss), logits

    context.fit(model, sets.retain, config, objective)


def gamma(alpha: float, epoch: int, epochs: int, without: int) -> float:
    """Penalty weight of an epoch (counted from 0) out of ``epochs``, the last ``without`` of which have none.

    Linear decay; constant ``alpha`` where ``without`` leaves no epoch, as the reference has it.
    """
    penalised = epochs - without
    if penalised == 0:
        return alpha
    return alpha * (1 - epoch / penalised) if epoch < penalised else 0.0
