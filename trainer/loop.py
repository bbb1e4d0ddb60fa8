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
from trainer.flags import Optimisation
from trainer.sam import Climb
from trainer.sync_norm import whole_batch_norm
from utils import parallel, seeds
from utils.device import synchronise
from utils.errors import RunError

Objective = Callable[[nn.Module, Tensor, Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        schedule: "step" (a tenth after each milestone), "cosine" (to zero) or "constant".
        warmup: epochs over which the step size grows linearly, step by step, to its scheduled value.
        ahead: epochs by which the step-size schedule is advanced at the start ("learning-rate rewinding").
        sam_rho: radius of adaptive sharpness-aware minimisation; 0 is off.
        amp: forward passes in bfloat16; weights and steps stay float32.
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
    ahead: int = 0
    sam_rho: float = 0.0
    amp: bool = False


def recipe(flags: Optimisation, epochs: int, lr: float, ahead: int = 0) -> Recipe:
    """The recipe that a script's or a method's flags describe."""
    return Recipe(
        epochs, lr, flags.optimizer, flags.momentum, flags.weight_decay, flags.schedule, flags.decreasing_lr, flags.warmup,
        flags.batch_size, ahead, flags.sam_rho, flags.amp,
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


def smoothed_cross_entropy(smoothing: float) -> Objective:
    """Cross-entropy with ``smoothing`` of every label's weight spread over all classes (Szegedy et al. 2016, section 7)."""

    def objective(model: nn.Module, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        logits = model(images)
        return F.cross_entropy(logits, labels, label_smoothing=smoothing), logits

    return objective if smoothing else cross_entropy


class Training:
    """A model on its way through a recipe; everything a checkpoint needs to go on from an epoch.

    Args:
        model: trained in place; it stays on its device.
        recipe: how.
        mask: weights to hold at zero; empty for a dense model.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, mask: Mask):
        self.model, self.recipe, self.epoch = model, recipe, 0
        self.hold_mask(mask)
        self.optimizer = _optimizer(_parameters(model, mask), recipe)
        self.climb = Climb(list(model.parameters()), recipe.sam_rho) if recipe.sam_rho else None
        self.scheduler = _scheduler(self.optimizer, recipe)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the schedule runs ahead of the first step on purpose
            for _ in range(recipe.ahead):
                self.scheduler.step()

    def hold_mask(self, mask: Mask) -> None:
        """Hold these weights at zero from now on."""
        self.hold = Hold(self.model, mask)

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
        device, size = images.device, self.recipe.batch_size
        torch.manual_seed(seed if parallel.is_main() else seeds.derive(seed, "process", parallel.rank()))
        self.model.train()
        figures = torch.zeros(2, device=device)  # summed loss, right answers
        steps = math.ceil(len(images) / size)
        shown = sys.stderr.isatty() and parallel.is_main()
        bar = tqdm(
            images.batches(size, seed, parallel.part), total=steps, desc=f"epoch {self.epoch + 1}/{self.recipe.epochs}", leave=False, disable=not shown
        )
        for step, (batch, labels) in enumerate(bar):
            self._warm_up(lr, step, steps)
            count = min(size, len(images) - step * size)
            loss, logits = self._step(objective, batch, labels, count)
            right = (logits.detach().argmax(1) == labels).sum()
            figures += torch.stack([loss.detach() * len(labels), right]) / (1 if count >= parallel.size() else parallel.size())
        loss_sum, correct = parallel.add_up(figures).tolist()
        mean_loss = loss_sum / len(images)
        if not math.isfinite(mean_loss):
            raise RunError(f"the loss became {mean_loss} in epoch {self.epoch + 1} at step size {lr:g}; try a smaller one")
        self._set_lr(lr)
        self.scheduler.step()
        self.epoch += 1
        synchronise(device)
        return EpochLog(self.epoch, lr, mean_loss, correct / len(images), time.perf_counter() - started)

    def _step(self, objective: Objective, batch: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """One step on this process's part of a batch of ``count`` images."""
        weight = parallel.weight(count)
        with whole_batch_norm(self.model, count):
            loss, logits = self._gradient(objective, batch, labels, weight)
            if self.climb is not None:
                self.climb.up()
                loss, logits = self._gradient(objective, batch, labels, weight)
                self.climb.back()
        self.optimizer.step()
        self.hold()
        return loss, logits

    def _gradient(self, objective: Objective, batch: Tensor, labels: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.recipe.amp):
            loss, logits = objective(self.model, batch, labels, self.epoch)
        self.optimizer.zero_grad(set_to_none=True)
        (loss * weight if weight != 1 else loss).backward()
        parallel.average_gradients(self.model.parameters())
        return loss, logits

    def _warm_up(self, lr: float, step: int, steps: int) -> None:
        if self.epoch < self.recipe.warmup:
            self._set_lr(lr * min(1.0, (self.epoch * steps + step + 1) / (self.recipe.warmup * steps)))

    def _set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr


def _optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, foreach=True)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, foreach=True)


def _scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "step":
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.milestones), gamma=0.1)

    def factor(epoch: int) -> float:
        if recipe.schedule == "constant" or epoch < recipe.warmup:
            return 1.0
        done = (epoch - recipe.warmup) / max(recipe.epochs - recipe.warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))  # a schedule that runs ahead does not rise again

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _parameters(model: nn.Module, mask: Mask) -> list[nn.Parameter]:
    """Parameters in the order in which the reference's files list them: a pruned weight behind its layer's bias."""
    ordered = []
    for layer, module in model.named_modules():
        own = list(module.named_parameters(recurse=False))
        own.sort(key=lambda item: f"{layer}.{item[0]}" in mask)
        ordered += [parameter for _, parameter in own]
    return ordered
