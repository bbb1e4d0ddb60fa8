"""The one training loop: pre-training, retraining and every iterative unlearning method."""
from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from dataset.images import Images
from pruner import Hold, Mask
from trainer.flags import Sgd
from utils import seeds
from utils.device import synchronise
from utils.errors import RunError

Objective = Callable[[nn.Module, Tensor, Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with momentum, step size a tenth after each milestone.

    Attributes:
        warmup: epochs over which the step size grows linearly, step by step, to its scheduled value.
        ahead: epochs by which the step-size schedule is advanced at the start ("learning-rate rewinding").
    """

    epochs: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = (91, 136)
    warmup: int = 0
    batch_size: int = 256
    ahead: int = 0


def recipe(flags: Sgd, epochs: int, lr: float, ahead: int = 0) -> Recipe:
    """The recipe that a script's or a method's flags describe."""
    return Recipe(
        epochs, lr, flags.momentum, flags.weight_decay, flags.decreasing_lr, flags.warmup, flags.batch_size, ahead
    )


@dataclass(frozen=True)
class EpochLog:
    """One finished epoch: its number from 1, step size, mean loss in nats, accuracy in [0, 1], seconds."""

    epoch: int
    lr: float
    loss: float
    accuracy: float
    seconds: float


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
    """The plain objective: mean cross-entropy, and the logits it came from."""
    logits = model(images)
    return F.cross_entropy(logits, labels), logits


class Training:
    """A model on its way through a recipe; everything a checkpoint needs to go on from an epoch.

    Args:
        model: trained in place; it stays on its device.
        recipe: how.
        mask: weights to hold at zero; empty for a dense model.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, mask: Mask):
        self.model, self.recipe, self.epoch = model, recipe, 0
        self.hold = Hold(model, mask)
        self.optimizer = torch.optim.SGD(
            _parameters(model, mask), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, foreach=True
        )
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, list(recipe.milestones), gamma=0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the schedule runs ahead of the first step on purpose
            for _ in range(recipe.ahead):
                self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """Epochs finished, optimiser and schedule, under the reference's keys."""
        return {"epoch": self.epoch, "optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; the model's weights are loaded separately."""
        self.epoch = state["epoch"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])

    def run(self, images: Images, seed: int, objective: Objective = cross_entropy) -> Iterator[EpochLog]:
        """Train the remaining epochs, yielding after each.

        Every epoch draws from its own seed, so that a resumed run repeats an undisturbed one.

        Args:
            seed: fixes order, augmentation and whatever else the epochs draw.
            objective: (model, images, labels, epoch) -> (loss to descend, logits).
        Raises:
            RunError: the loss is no longer finite.
        """
        while self.epoch < self.recipe.epochs:
            yield self._one_epoch(images, seeds.derive(seed, "epoch", self.epoch), objective)

    def _one_epoch(self, images: Images, seed: int, objective: Objective) -> EpochLog:
        started, lr = time.perf_counter(), self.scheduler.get_last_lr()[0]
        device = images.device
        torch.manual_seed(seed)
        self.model.train()
        loss_sum, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
        steps = math.ceil(len(images) / self.recipe.batch_size)
        batches = images.batches(self.recipe.batch_size, seed)
        bar = tqdm(batches, total=steps, desc=f"epoch {self.epoch + 1}/{self.recipe.epochs}", leave=False, disable=not sys.stderr.isatty())
        for step, (batch, labels) in enumerate(bar):
            self._warm_up(lr, step, steps)
            loss, logits = objective(self.model, batch, labels, self.epoch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.hold()
            loss_sum += loss.detach() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
        mean_loss = float(loss_sum) / len(images)
        if not math.isfinite(mean_loss):
            raise RunError(f"the loss became {mean_loss} in epoch {self.epoch + 1} at step size {lr:g}; try a smaller one")
        self._set_lr(lr)
        self.scheduler.step()
        self.epoch += 1
        synchronise(device)
        return EpochLog(self.epoch, lr, mean_loss, int(correct) / len(images), time.perf_counter() - started)

    def _warm_up(self, lr: float, step: int, steps: int) -> None:
        if self.epoch < self.recipe.warmup:
            self._set_lr(lr * min(1.0, (self.epoch * steps + step + 1) / (self.recipe.warmup * steps)))

    def _set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr


def _parameters(model: nn.Module, mask: Mask) -> list[nn.Parameter]:
    """Parameters in the order in which the reference's files list them: a pruned weight behind its layer's bias."""
    ordered = []
    for layer, module in model.named_modules():
        own = list(module.named_parameters(recurse=False))
        own.sort(key=lambda item: f"{layer}.{item[0]}" in mask)
        ordered += [parameter for _, parameter in own]
    return ordered
