"""The one place that runs an unlearning method."""

from __future__ import annotations

import copy
import importlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

import pruner
from dataset.images import Images
from unlearn import lora, saliency
from unlearn.context import Context, Sets
from unlearn.registry import Method, Salient
from utils import finite, memory
from utils.device import PeakMemory


@dataclass(frozen=True)
class Unlearned:
    """The result of unlearning.

    Attributes:
        model: the unlearned model; peft's model if adapters are stored separately.
        mask: boolean tensors by parameter name, True where a weight is kept; that of the frozen model with adapters.
        seconds: the method's active seconds (RTE); None if it was not run here.
        memory: peak memory of the method in bytes, beyond what was in use before (``utils.device.PeakMemory``); None if
            unknown.
    """

    model: nn.Module
    mask: pruner.Mask
    seconds: float | None
    memory: int | None = None


def apply(method: Method, model: nn.Module, sets: dict[str, Images], config: Any, context: Context) -> Unlearned:
    """Run a method on a copy of ``model`` with the mask of ``context`` held.

    With ``--saliency_threshold`` the weights that may change are found first, on the forget set, whatever sets the
    method reads; this counts towards its time. With 0 epochs the model is not changed at all, since a method that
    damages weights and then repairs them makes no sense without the repair.

    Args:
        model: the model that the method starts from; not changed.
        sets: "retain", "forget" and "val"; the method sees those that it declared.
        config: an instance of ``method.config``.
        context: mask, seed and whatever else the method is given.
    Raises:
        RunError: a pruned weight is not exactly zero afterwards.
        DivergedError: the loss or a weight is no longer finite.
        LookupError: the method asked for a set that it did not declare.
        UsageError: the method cannot unlearn the context's task, or what it is to forget.
    """
    method.check_task(context.task.name)
    method.check_classes(bool(context.whole))
    _load_libraries(config, context)
    peak = PeakMemory(context.device)
    run = _plainly if context.adapters is None else partial(_with_adapters, context.adapters)
    with _memory_of(config):
        unlearned = run(method, model, sets, config, context)
    return replace(unlearned, memory=peak.bytes)


def _plainly(method: Method, model: nn.Module, sets: dict[str, Images], config: Any, context: Context) -> Unlearned:
    """Run a method on the model's own weights."""
    unlearned = copy.deepcopy(model)
    pruner.MaskEnforcer(unlearned, context.mask)
    _start_clock(context)
    if _idle(config):
        return Unlearned(unlearned, context.mask, context.clock.seconds)
    if isinstance(config, Salient) and config.saliency_threshold is not None and context.update_mask is None:
        context.update_mask = _salient(unlearned, sets["forget"], config, context)
    if context.update_mask is not None:
        context.log.line(f"saliency: {saliency.share(context.update_mask, context.mask)}")
    method.run(unlearned, Sets(sets, method.reads, method.name), config, context)
    seconds = context.clock.seconds
    finite.check(finite.state(unlearned), f"by {method.name}; try milder settings")
    pruner.check_held(unlearned, context.mask, method.name)
    return Unlearned(unlearned, context.mask, seconds)


def _salient(model: nn.Module, forget: Images, config: Salient, context: Context) -> pruner.Mask:
    """The weights with the largest gradients on the forget set."""
    density = config.saliency_threshold
    assert density is not None

    def find() -> pruner.Mask:
        scores = saliency.gradient(model, forget, config.batch_size, config.no_aug, context)
        return saliency.largest(scores, density, context.mask)

    return saliency.once(context, f"with_{density}.pt", model, find)


def _with_adapters(
    plan: lora.Plan, method: Method, model: nn.Module, sets: dict[str, Images], config: Any, context: Context
) -> Unlearned:
    """Run a method on adapters, check that frozen weights have not changed, and merge the adapters or keep them.

    While the method runs there is no mask to hold, because the pruned weights are frozen at zero.
    """
    mask, copied = context.mask, copy.deepcopy(model)
    pruner.MaskEnforcer(copied, mask)
    _start_clock(context)
    adapted = lora.attach(copied, plan, context.seed)
    context.mask, context.frozen = {}, lora.frozen(adapted).keys()
    if not _idle(config):
        method.run(adapted, Sets(sets, method.reads, method.name), config, context)
    context.mask = mask
    with context.clock.paused():
        finite.check(finite.state(adapted), f"by {method.name}; try milder settings")
        lora.check_frozen(adapted, model, mask, method.name)
    unlearned = adapted if plan.stored_separately else lora.merge(adapted, mask)
    seconds = context.clock.seconds
    if not plan.stored_separately:
        pruner.check_held(unlearned, mask, method.name)
    return Unlearned(unlearned, mask, seconds)


def _load_libraries(config: Any, context: Context) -> None:
    """Import libraries that the method will need, so that this does not count towards its time (RTE) and memory."""
    if context.adapters is not None:
        importlib.import_module("peft")
    if hasattr(config, "unlearn_epochs") and not _idle(config):
        importlib.import_module("torch._dynamo")  # the first optimiser would import it


def _memory_of(config: Any) -> AbstractContextManager[None]:
    """Context in which an error for lack of memory names the flag that sets how many images are computed at once."""
    field = next((name for name in ("batch_size", "fisher_batch_size") if hasattr(config, name)), None)
    return memory.steps(getattr(config, field), f"--{field}") if field else memory.steps(None)


def _start_clock(context: Context) -> None:
    context.clock.start(context.progress.state["seconds"] if context.progress.state else 0.0)


def _idle(config: Any) -> bool:
    """Whether a method that trains is told to take no steps."""
    return getattr(config, "unlearn_epochs", 1) <= 0 and getattr(config, "iterations", None) is None
