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

from dataset.combined import Chain
from dataset.images import Images
from pruner import Hold, Mask
from trainer.flags import Optimisation
from trainer.sam import Climb
from trainer.sync_norm import whole_batch_norm
from utils import parallel, seeds
from utils.device import synchronise
from utils.errors import RunError

Objective = Callable[[nn.Module, Tensor, Tensor, int], tuple[Tensor, Tensor]]
Trainable = Images | Chain  # what an epoch passes over


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        schedule: "step" (a tenth after each milestone), "cosine" (to zero) or "constant".
        warmup: epochs over which the step size grows linearly, step by step, to its scheduled value.
        ahead: epochs by which the step-size schedule is advanced at the start ("learning-rate rewinding").
        sam_rho: radius of adaptive sharpness-aware minimisation; 0 is off.
        amp: forward passes in bfloat16; weights and steps stay float32.
        max_norm: gradients are scaled down to this length, over all weights; 0 leaves them.
        eval_mode: batch norm uses its running statistics and leaves them alone.
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
    max_norm: float = 0.0
    eval_mode: bool = False


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


class Tally:
    """Loss and right answers of an epoch's steps, added up where the images are."""

    def __init__(self, device: torch.device):
        self.device, self.started = device, time.perf_counter()
        self._figures, self._images = torch.zeros(2, device=device), 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, count: int) -> None:
        """One step on this process's part of a batch of ``count`` images, with the mean loss of that part."""
        right = (logits.detach().argmax(1) == labels).sum()
        self._figures += torch.stack([loss.detach() * len(labels), right]) / (1 if count >= parallel.size() else parallel.size())
        self._images += count

    def means(self) -> tuple[float, float]:
        """Loss per image and accuracy in [0, 1], over all processes."""
        loss, right = parallel.add_up(self._figures).tolist()
        return loss / max(self._images, 1), right / max(self._images, 1)


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
        only: True where a weight may change; None for all. The gradient of the others is taken away before the step.
        held: keep the others at their values; without it momentum and weight decay still move them.
        optimizer: of another training of the same model, to step with that one's momentum.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, mask: Mask, only: Mask | None = None, held: bool = True,
        optimizer: torch.optim.Optimizer | None = None,
    ):
        self.model, self.recipe, self.epoch = model, recipe, 0
        self._only, self._held = only, held
        self.hold_mask(mask)
        self.optimizer = optimizer or _optimizer(_parameters(model, mask), recipe)
        self.climb = Climb(list(model.parameters()), recipe.sam_rho) if recipe.sam_rho else None
        self.scheduler = _scheduler(self.optimizer, recipe)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the schedule runs ahead of the first step on purpose
            for _ in range(recipe.ahead):
                self.scheduler.step()

    def hold_mask(self, mask: Mask) -> None:
        """Hold these weights at zero from now on, and those that must not change where they are now."""
        self.hold = Hold(self.model, mask)
        self.salient = None if self._only is None else Hold(self.model, self._only, at_zero=False)

    def state(self) -> dict[str, Any]:
        """Epochs finished, optimiser and schedule, under the reference's keys."""
        return {"epoch": self.epoch, "optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; the model's weights are loaded separately."""
        self.epoch = state["epoch"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])

    def run(
        self, images: Trainable | Callable[[int], Trainable], seed: int, objective: Objective = cross_entropy
    ) -> Iterator[EpochLog]:
        """Train the remaining epochs, yielding after each.

        Every epoch draws from its own seed, so that a resumed run repeats an undisturbed one.

        Args:
            images: what to train on, or a function from an epoch's number, from 0, to it.
            seed: fixes order, augmentation and whatever else the epochs draw.
            objective: (model, images, labels, epoch) -> (loss to descend, logits).
        Raises:
            RunError: the loss is no longer finite.
        """
        while self.epoch < self.recipe.epochs:
            epoch_images = images(self.epoch) if callable(images) else images
            yield self._one_epoch(epoch_images, seeds.derive(seed, "epoch", self.epoch), objective)

    def _one_epoch(self, images: Trainable, seed: int, objective: Objective) -> EpochLog:
        lr, sizes = self.scheduler.get_last_lr()[0], images.sizes(self.recipe.batch_size)
        tally = self.begin_epoch(images.device, seed)
        shown = sys.stderr.isatty() and parallel.is_main()
        bar = tqdm(
            images.batches(self.recipe.batch_size, seed, parallel.part),
            total=len(sizes), desc=f"epoch {self.epoch + 1}/{self.recipe.epochs}", leave=False, disable=not shown,
        )
        for step, (batch, labels) in enumerate(bar):
            self._warm_up(lr, step, len(sizes))
            tally.add(*self.step(objective, batch, labels, sizes[step]), labels, sizes[step])
        self.set_lr(lr)
        self.scheduler.step()
        return self.end_epoch(tally, lr)

    def begin_epoch(self, device: torch.device, seed: int) -> "Tally":
        """Seed what layers draw and set the model's mode; add the epoch's steps to the result."""
        tally = Tally(device)
        torch.manual_seed(seed if parallel.is_main() else seeds.derive(seed, "process", parallel.rank()))
        self.model.train(not self.recipe.eval_mode)
        return tally

    def end_epoch(self, tally: "Tally", lr: float) -> EpochLog:
        """Count the epoch as finished.

        Raises:
            RunError: the loss is no longer finite.
        """
        loss, accuracy = tally.means()
        if not math.isfinite(loss):
            raise RunError(f"the loss became {loss} in epoch {self.epoch + 1} at step size {lr:g}; try a smaller one")
        self.epoch += 1
        synchronise(tally.device)
        return EpochLog(self.epoch, lr, loss, accuracy, time.perf_counter() - tally.started)

    def step(self, objective: Objective, batch: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """One step on this process's part of a batch of ``count`` images; loss and logits before it."""
        loss, logits = self.gradients(objective, batch, labels, count)
        self.advance()
        return loss, logits

    def gradients(self, objective: Objective, batch: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """What ``step`` steps along: gradients over the whole batch, masked, then clipped."""
        weight = parallel.weight(count)
        with whole_batch_norm(self.model, count):
            loss, logits = self._gradient(objective, batch, labels, weight)
            if self.climb is not None:
                self.climb.up()
                loss, logits = self._gradient(objective, batch, labels, weight)
                self.climb.back()
        if self.salient is not None:
            self.salient.gradients()
        if self.recipe.max_norm:
            self.hold.gradients()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.max_norm)
        return loss, logits

    def advance(self) -> None:
        """Step along the present gradients."""
        self.optimizer.step()
        self.hold()
        if self.salient is not None and self._held:
            self.salient()

    def _gradient(self, objective: Objective, batch: Tensor, labels: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.recipe.amp):
            loss, logits = objective(self.model, batch, labels, self.epoch)
        self.optimizer.zero_grad(set_to_none=True)
        (loss * weight if weight != 1 else loss).backward()
        parallel.average_gradients(self.model.parameters())
        return loss, logits

    def _warm_up(self, lr: float, step: int, steps: int) -> None:
        if self.epoch < self.recipe.warmup:
            self.set_lr(lr * min(1.0, (self.epoch * steps + step + 1) / (self.recipe.warmup * steps)))

    def set_lr(self, lr: float) -> None:
        """Step by this from now on."""
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
