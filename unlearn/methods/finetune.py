"""FT and l1-sparse: fine-tune on the retain set, without or with an l1 penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unlearn.registry import ALPHA, Counted, Salient, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import option


@dataclass(frozen=True)
class SparseConfig(Salient):
    alpha: float = option(
        1e-4, "weight of the l1 penalty, at its largest", common=ALPHA, low=0, search=(1e-6, 1e-2, "log")
    )
    l1_schedule: str = option(
        "decaying", "the penalty's weight over the epochs", choices=("decaying", "constant", "growing")
    )
    no_l1_epochs: int = option(0, "last epochs without the penalty", low=0)


@method("FT", config=Counted, reads={"retain"}, aliases=("finetune", "Finetune"))
@about("fine-tune on the retain set", source="Jia et al. 2023, section 2; Golatkar et al. 2020")
def finetune(model: nn.Module, sets: Sets, config: Counted, context: Context) -> None:
    """Descend the loss on the retain set."""
    context.fit(model, sets.retain, config)


_SPARSE: dict[str, Any] = {"config": SparseConfig, "reads": {"retain"}, "paper": "l1-sparse"}
_SPARSE["source"] = "Jia et al. 2023, section 4, eq. 3"


@method("FT_l1", summary="fine-tune on the retain set with an l1 penalty", **_SPARSE)
@method(
    "FT_prune",
    summary="the same as FT_l1, under the name the paper's commands use",
    aliases=("l1-sparse", "l1_sparse"),
    **_SPARSE,
)
def l1_sparse(model: nn.Module, sets: Sets, config: SparseConfig, context: Context) -> None:
    """Descend the loss on the retain set plus gamma_t times the l1 norm of all parameters.

    gamma follows ``l1_schedule`` epoch by epoch (``gamma``). Nothing is thresholded.
    """
    from trainer.steps import Pass
    from unlearn.penalty import gamma

    def weight(epoch: int) -> float:
        return gamma(config.l1_schedule, config.alpha, epoch, config.unlearn_epochs, config.no_l1_epochs)

    context.fit(model, [Pass(sets.retain, context.task.mean, l1=weight)], config)
