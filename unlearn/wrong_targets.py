"""Train on both sets, with wrong targets for the forget set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dataset.combined import Chain, union
from dataset.images import Images
from dataset.pairs import Paired
from trainer.steps import Pass
from trainer.task import Batch, Figures
from unlearn.context import Context, Sets
from utils import seeds
from utils.errors import UsageError


def of_epochs(sets: Sets, config: Any, context: Context) -> Callable[[int], Tensor]:
    """A function from an epoch's number to random targets of the forget set, int64 [n] in its order.

    They are drawn for every epoch or once, as ``config.relabel`` says. They are never the true ones, except that with
    ``--compat reference`` they can be.
    """

    def wrong(epoch: int) -> Tensor:
        seed = seeds.derive(context.seed, "relabel", epoch if config.relabel == "epoch" else 0)
        return context.task.wrong_targets(sets.forget.labels, seed, exclude_true=context.compat == "fixed")

    return wrong


def train(
    model: nn.Module,
    sets: Sets,
    config: Any,
    context: Context,
    wrong: Callable[[int], Tensor],
    after: Callable[[int, int], None] | None = None,
) -> None:
    """Train on both sets, with ``wrong(epoch)`` as the targets of the forget set.

    Args:
        config: hyper-parameters of RL, SalUn or SalUn-soft.
        wrong: maps an epoch's number, from 0, to targets, int64 [n] in the order of the forget set.
        after: called after every step with its number, from 0, and the number of all steps; None for nothing.
    Raises:
        UsageError: loss weights, or another loss of the forget set, need steps with a batch of each set.
    """
    by_default = "joint" if context.compat == "fixed" or context.dataset.startswith("cifar100") else "alternate"
    order = config.order or by_default
    alone = {"unlearn_loss": "rl", "forget_alpha": 1.0, "remain_alpha": 1.0}  # the only values for other orders
    for name, value in alone.items():
        if order != "paired" and getattr(config, name) != value:
            raise UsageError(f"--{name} {getattr(config, name)}: needs --order paired, a batch of both sets in a step")
    climbs = config.unlearn_loss == "ga"
    both = union(sets.forget, sets.retain) if order == "joint" else None

    def images(epoch: int) -> Images | Chain | Paired:
        if order == "paired":
            return Paired(sets.retain, sets.forget if climbs else sets.forget.relabelled(wrong(epoch)))
        if both is not None:
            return both.relabelled(torch.cat([wrong(epoch), sets.retain.labels]))
        return Chain(sets.forget.relabelled(wrong(epoch)), sets.retain)

    def taught(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        losses, figures = context.task.taught(model, batch)
        return losses.mean(), figures

    def weighted(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        retain, figures = context.task.mean(model, batch.part(0))
        forget = (context.task.climbed if climbs else context.task.taught)(model, batch.part(1))[0].mean()
        return config.forget_alpha * (-forget if climbs else forget) + config.remain_alpha * retain, figures

    total = config.iterations
    if total is None:
        total = config.unlearn_epochs * len(images(0).sizes(config.batch_size))

    def taken(step: int) -> None:
        if after is not None:
            after(step, total)

    context.fit(model, [Pass(images, weighted if order == "paired" else taught, after=taken)], config)
