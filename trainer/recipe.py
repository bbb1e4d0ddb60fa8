"""How to train: a recipe, and the optimiser and step sizes that follow from it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pruner import Mask
from trainer.training_flags import Stepping

DROPS = (5, 8, 9)  # tenths of the epochs after which schedule "drops" reduces the step size

WAYS = ("foreach", "fused", "capturable")  # settings of an optimiser that depend on the device


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the data.
        lr: step size.
        optimizer: "sgd", "adam" or "adamw".
        schedule: "step" (times ``decay`` after each milestone), "drops" (the same after 50, 80 and 90 % of the
            epochs), "cosine" (to zero), "smooth" (the same step by step, to ``floor``), "triangle" (up to ``lr``
            at the middle epoch and down again) or "constant".
        warmup: epochs over which the step size grows linearly, step by step, to its scheduled value.
        milestones: epochs after which schedule "step" reduces the step size.
        schedule_offset: epochs by which the step-size schedule is advanced at the start ("learning-rate rewinding").
        sam_rho: radius of adaptive sharpness-aware minimisation; 0 is off.
        amp: forward passes in bfloat16; weights and steps stay float32.
        decay: factor of schedules "step" and "drops".
        floor: step size at the end of schedule "smooth".
        steps: number of steps after which the training ends, even within an epoch; None for whole epochs.
        max_norm: length, over all weights, to which longer gradients are scaled down; 0 does not scale.
        clip_first: scale gradients down before those of frozen weights are set to zero, instead of after it.
        eval_mode: batch norm uses its running statistics and does not change them.
        ema_decay: share that a moving average of the weights keeps at every step; 0 keeps no average.
    """

    epochs: int
    lr: float
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "step"
    milestones: tuple[int, ...] = (91, 136)
    warmup: int = 0
    batch_size: int = 256
    schedule_offset: int = 0
    sam_rho: float = 0.0
    amp: bool = False
    decay: float = 0.1
    floor: float = 0.0
    steps: int | None = None
    max_norm: float = 0.0
    clip_first: bool = False
    eval_mode: bool = False
    ema_decay: float = 0.0


FLAGS = {"milestones": "decreasing_lr", "decay": "lr_decay_rate"}  # attributes whose flags have other names


def recipe(flags: Stepping, epochs: int, lr: float, **other: Any) -> Recipe:
    """The recipe that a script's or a method's flags describe; without a flag ``schedule``, the step size is constant.

    Args:
        flags: the flags.
        epochs, lr: attributes of the recipe, whose flags have different names.
        other: further attributes, which take the place of flags.
    """
    names = Recipe.__dataclass_fields__.keys() - {"epochs", "lr", "schedule_offset", "steps", "floor"}
    flag = {name: FLAGS.get(name, name) for name in names}
    settings = {name: getattr(flags, flag[name]) for name in names if hasattr(flags, flag[name])}
    return Recipe(epochs, lr, **({"schedule": "constant", "milestones": ()} | settings | other))


class OptimizerSchedule:
    """An optimiser and its step size over the epochs.

    Args:
        parameters: what a new optimiser updates.
        recipe: optimiser, step size and schedule.
        optimizer: None makes a new one.
    """

    def __init__(self, parameters: list[nn.Parameter], recipe: Recipe, optimizer: torch.optim.Optimizer | None = None):
        self.recipe = recipe
        self.optimizer = optimizer or _optimizer(parameters, recipe)
        self.scheduler = _scheduler(self.optimizer, recipe)
        self.advance(recipe.schedule_offset)

    def advance(self, epochs: int) -> None:
        """Advance the schedule by ``epochs`` epochs without a step of the optimiser."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns as the optimiser took no step, which is intended
            for _ in range(epochs):
                self.scheduler.step()

    @property
    def lr(self) -> float:
        """The epoch's step size, warm-up aside."""
        return float(self.scheduler.get_last_lr()[0])

    @property
    def now(self) -> float:
        """The present step's step size."""
        return self.optimizer.param_groups[0]["lr"]

    def before_step(self, epoch: int, step: int, steps: int) -> None:
        """Set the step size of step ``step``, from 0, of ``steps`` in an epoch, if it changes within the epoch."""
        if epoch < self.recipe.warmup:
            self.set_lr(self.lr * min(1.0, (epoch * steps + step + 1) / (self.recipe.warmup * steps)))
        elif self.recipe.schedule == "smooth":
            self.set_lr(self.recipe.lr * _share(self.recipe, epoch + step / steps))

    def after_epoch(self) -> None:
        """Go on to the next epoch's step size."""
        self.set_lr(self.lr)
        self.scheduler.step()

    def set_lr(self, lr: float) -> None:
        """Set the step size of the next steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def state(self) -> dict[str, Any]:
        """Optimiser and schedule, under the reference's keys."""
        return {"optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore ``state``, which may come from another kind of device."""
        stored, own = state["optimizer"], self.optimizer.param_groups
        ways = [{key: group[key] for key in WAYS if key in group} for group in own]
        groups = [{**group, **way} for group, way in zip(stored["param_groups"], ways)]
        self.optimizer.load_state_dict({**stored, "param_groups": groups})
        for parameter, moments in self.optimizer.state.items():
            for name, value in moments.items():
                if value is not None and value.shape == parameter.shape and value.stride() != parameter.stride():
                    moments[name] = torch.empty_like(parameter).copy_(value)  # fused steps need one layout for both
        self.scheduler.load_state_dict(state["scheduler"])


def ordered_parameters(model: nn.Module, mask: Mask) -> list[nn.Parameter]:
    """Parameters in the order of the reference's optimiser states: a pruned weight follows its layer's bias."""
    ordered = []
    for layer, module in model.named_modules():
        own = list(module.named_parameters(recurse=False))
        own.sort(key=lambda item: f"{layer}.{item[0]}" in mask)
        ordered += [parameter for _, parameter in own]
    return ordered


def _optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    on_gpu = parameters[0].device.type == "cuda"
    way: dict[str, Any] = {"fused": True} if on_gpu else {"foreach": True}
    common: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, **way}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=recipe.momentum, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(parameters, capturable=on_gpu, **common)


def _scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule in ("step", "drops"):
        drops = [-(-recipe.epochs * tenths // 10) for tenths in DROPS]
        milestones = list(recipe.milestones) if recipe.schedule == "step" else drops
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=recipe.decay)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: _share(recipe, epoch))


def _share(recipe: Recipe, epoch: float) -> float:
    """Step size after ``epoch`` epochs as a share of ``recipe.lr``; beyond the last epoch it does not rise again."""
    if recipe.schedule == "constant" or epoch < recipe.warmup:
        return 1.0
    if recipe.schedule == "triangle":
        top = (recipe.epochs + 1) // 2
        return (epoch + 1) / top if epoch < top else max(0.0, (recipe.epochs - epoch) / (recipe.epochs + 1 - top))
    done = (epoch - recipe.warmup) / max(recipe.epochs - recipe.warmup, 1)
    share = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return share if recipe.schedule == "cosine" else recipe.floor / recipe.lr + (1 - recipe.floor / recipe.lr) * share
