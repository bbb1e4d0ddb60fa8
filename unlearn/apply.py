"""The one place that runs an unlearning method."""
from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn

import pruner
from dataset.images import Images
from unlearn import saliency
from unlearn.context import Context, Sets
from unlearn.registry import Method, Salient
from utils import finite


@dataclass(frozen=True)
class Unlearned:
    """The model after unlearning, its mask, and the active seconds of the method alone (RTE; None if it was not run here)."""

    model: nn.Module
    mask: pruner.Mask
    seconds: float | None


def apply(method: Method, model: nn.Module, sets: dict[str, Images], config: Any, context: Context) -> Unlearned:
    """Run a method on a copy of ``model`` with the mask of ``context`` held.

    With ``--saliency_threshold`` the weights that it may change are found first, on the forget set
    whatever the method reads; that counts towards its time. With no epochs nothing is done:
    a method that damages weights and then repairs them is not itself without the repair.

    Args:
        model: where the method starts; left as it is.
        sets: "retain", "forget" and "val"; the method sees those it declared.
        config: an instance of ``method.config``.
    Raises:
        RunError: a pruned weight is not exactly zero afterwards.
        DivergedError: the loss or a weight left the finite numbers.
        LookupError: the method asked for a set that it did not declare.
    """
    unlearned = copy.deepcopy(model)
    pruner.Hold(unlearned, context.mask)
    before = context.progress.state["seconds"] if context.progress.state else 0.0
    context.clock.start(before)
    if _idle(config):
        return Unlearned(unlearned, context.mask, context.clock.seconds)
    if isinstance(config, Salient) and config.saliency_threshold is not None and context.only is None:
        scores = saliency.gradient(unlearned, sets["forget"], config.batch_size, config.no_aug, context)
        context.only = saliency.largest(scores, config.saliency_threshold, context.mask)
    if context.only is not None:
        context.log.line(f"saliency: {saliency.share(context.only, context.mask)}")
    method.run(unlearned, Sets(sets, method.reads, method.name), config, context)
    seconds = context.clock.seconds
    finite.check(finite.state(unlearned), f"by {method.name}; try milder settings")
    pruner.check_held(unlearned, context.mask, method.name)
    return Unlearned(unlearned, context.mask, seconds)


def _idle(config: Any) -> bool:
    """Whether a method that trains is told not to."""
    return getattr(config, "unlearn_epochs", 1) <= 0 and getattr(config, "iterations", None) is None
