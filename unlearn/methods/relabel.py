"""RL and SalUn: teach the forget set wrong labels while keeping the retain set; SalUn changes salient weights only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn.benchmark import PAPER
from unlearn.registry import Salient, method
from utils.options import changed, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataset.combined import Chain
    from dataset.images import ImageSet
    from unlearn.context import Context, Sets


@dataclass(frozen=True)
class Config(Salient):
    unlearn_epochs: int = changed(Salient, "unlearn_epochs", 10, help="passes over both sets")
    unlearn_lr: float = changed(Salient, "unlearn_lr", 0.013, search=(5e-4, 0.05, "log"))
    order: str | None = option(
        None,
        "an epoch is one shuffled pass over both sets (joint), or one over the forget set, then one over the retain set (alternate; with --compat reference, but for cifar100)",
        choices=("joint", "alternate"),
    )
    relabel: str = option("epoch", "wrong labels are drawn for every epoch, or once", choices=("epoch", "once"))


@dataclass(frozen=True)
class SalUnConfig(Config):
    saliency_threshold: float | None = option(
        0.5,
        "without a file: change only this fraction of the weights, those with the largest gradients on the forget set",
        above=0,
        high=1,
        search=(0.1, 0.9, "linear"),
    )


_BOTH = {"reads": {"retain", "forget"}}
_SFRON = {"batch_size": 128, "schedule": "cosine", "order": "joint", "relabel": "once"}
_DEEP_UNLEARN = {
    "unlearn_lr": 0.01,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "constant",
    "no_aug": True,
    "order": "joint",
}


@method(
    "RL",
    config=Config,
    summary="random labels for the forget set, true ones for the retain set",
    source="Golatkar et al. 2020; Graves et al. 2021; Fan et al. 2024",
    aliases=("RandomLabel",),
    presets={"sfron": _SFRON | {"unlearn_lr": 0.003}},
    **_BOTH,
)
@method(
    "SalUn",
    config=SalUnConfig,
    summary="random labels, changing only the weights that matter for the forget set",
    source=f"Fan et al. 2024 (SalUn), section 4; preset deepunlearn: {PAPER}",
    aliases=("salun", "SalUN"),
    presets={"sfron": _SFRON | {"unlearn_lr": 0.007, "saliency_threshold": 0.2}, "deepunlearn": _DEEP_UNLEARN},
    **_BOTH,
)
def relabel(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the loss towards random targets on the forget set and towards the true ones on the retain set.

    The random target is never the true one; with ``--compat reference`` it may be.
    """
    from utils import seeds

    def wrong(epoch: int) -> Tensor:
        seed = seeds.derive(context.seed, "relabel", epoch if config.relabel == "epoch" else 0)
        return context.task.wrong_targets(sets.forget.labels, seed, exclude_true=context.compat == "fixed")

    train(model, sets, config, context, wrong)


def train(model: nn.Module, sets: Sets, config: Config, context: Context, wrong: Callable[[int], Tensor]) -> None:
    """Train on both sets, the forget set with targets ``wrong(epoch)``, int64 [n] in its order."""
    import torch

    from dataset.combined import Chain, union

    by_default = "joint" if context.compat == "fixed" or context.dataset.startswith("cifar100") else "alternate"
    joint = (config.order or by_default) == "joint"
    both = union(sets.forget, sets.retain) if joint else None

    def images(epoch: int) -> ImageSet | Chain:
        if joint:
            return both.relabelled(torch.cat([wrong(epoch), sets.retain.labels]))
        return Chain(sets.forget.relabelled(wrong(epoch)), sets.retain)

    context.fit(model, images, config)
