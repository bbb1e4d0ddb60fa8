"""The one training loop: pre-training, retraining and every iterative unlearning method."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from dataset.combined import Chain
from dataset.images import Images
from dataset.pairs import Marked, Paired
from pruner import Mask, MaskEnforcer
from trainer.cpu_arithmetic import cpu_arithmetic
from trainer.flags import Stepping
from trainer.pulse import Pulse
from trainer.sam import ASAM
from utils import finite, memory, parallel, seeds
from utils.device import half, synchronise
from utils.errors import DivergedError

Objective = Callable[[nn.Module, Tensor, Tensor, int], tuple[Tensor, Tensor]]
Labels = Tensor | tuple[Tensor, Tensor]
Trainable = Images | Chain | Paired | Marked  # what one walk goes over
DROPS = (5, 8, 9)  # tenths of the epochs after which schedule "drops" lowers the step size


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        schedule: "step" (times ``decay`` after each milestone), "drops" (the same after 50, 80 and 90 % of the
            epochs), "cosine" (to zero), "smooth" (the same step by step, to ``floor``), "triangle" (up to ``lr``
            at the middle epoch and down again) or "constant".
        warmup: epochs over which the step size grows linearly, step by step, to its scheduled value.
        ahead: epochs by which the step-size schedule is advanced at the start ("learning-rate rewinding").
        sam_rho: radius of adaptive sharpness-aware minimisation; 0 is off.
        amp: forward passes in bfloat16; weights and steps stay float32.
        decay: factor of schedules "step" and "drops".
        floor: step size at the end of schedule "smooth".
        steps: the training ends after so many steps, in the middle of an epoch; None for whole epochs.
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
    decay: float = 0.1
    floor: float = 0.0
    steps: int | None = None
    max_norm: float = 0.0
    eval_mode: bool = False


def recipe(flags: Stepping, epochs: int, lr: float, ahead: int = 0, steps: int | None = None) -> Recipe:
    """The recipe that a script's or a method's flags describe; constant step size where they name no schedule."""
    own = {
        "schedule": "constant",
        "decreasing_lr": (),
        "warmup": 0,
        "sam_rho": 0.0,
        "lr_decay_rate": 0.1,
        "max_norm": 0.0,
        "eval_mode": False,
    }
    schedule, milestones, warmup, sam_rho, decay, max_norm, eval_mode = (
        getattr(flags, name, default) for name, default in own.items()
    )
    return Recipe(
        epochs,
        lr,
        flags.optimizer,
        flags.momentum,
        flags.weight_decay,
        schedule,
        milestones,
        warmup,
        flags.batch_size,
        ahead,
        sam_rho,
        flags.amp,
        decay,
        steps=steps,
        max_norm=max_norm,
        eval_mode=eval_mode,
    )


@dataclass(frozen=True)
class EpochLog:
    """One finished epoch: its number from 1, step size, mean loss in nats, accuracy in [0, 1], seconds."""

    epoch: int
    lr: float
    loss: float
    accuracy: float
    seconds: float


class EpochMeter:
    """Loss and right answers of an epoch's steps, added up where the images are."""

    def __init__(self, device: torch.device):
        self.device, self.started = device, time.perf_counter()
        self._prompt = (
            device.type == "cpu" and parallel.size() == 1
        )  # elsewhere every question would make the device wait
        self.clear()

    def clear(self) -> None:
        """Count from nothing again; the time goes on."""
        self._figures = torch.zeros(
            4, device=self.device
        )  # summed loss, right answers, images, steps after which the sum was finite

    @property
    def broken(self) -> bool:
        """Whether the loss is known to be no longer finite; only one process on the CPU knows before the end."""
        return self._prompt and not math.isfinite(self._figures[0])

    def add(self, loss: Tensor, logits: Tensor, labels: Labels, count: int) -> None:
        """One step on this process's part of a batch of ``count`` images, with the mean loss of that part."""
        classes = labels[0] if isinstance(labels, tuple) else labels
        right = (logits.detach().argmax(1) == classes).sum()
        sums = torch.stack([loss.detach() * len(classes), right, torch.full_like(right, len(classes))])
        self._figures[:3] += sums / (1 if count >= parallel.size() else parallel.size())
        self._figures[3] += self._figures[0].isfinite()

    def means(self) -> tuple[float, float, int]:
        """Loss per image and accuracy in [0, 1] over all processes, and the number of steps before the loss was no longer finite."""
        loss, right, images, steps = parallel.add_up(self._figures.clone()).tolist()
        return loss / max(images, 1), right / max(images, 1), int(steps) // parallel.size()


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


@dataclass(frozen=True)
class Pass:
    """One walk over a set within every epoch.

    Attributes:
        images: the set, or a function from the epoch's number (from 0) to it.
        objective: (model, images, labels, epoch) -> (loss to descend, logits). What images and labels are is up to
            the set; of several labels the first are the classes that the logits are counted against.
        recipe: of an optimiser of its own; None for the training's.
        batch_size: None for the recipe's.
        epochs: only the first so many epochs have it; None for all.
    """

    images: Trainable | Callable[[int], Trainable]
    objective: Objective = cross_entropy
    recipe: Recipe | None = None
    batch_size: int | None = None
    epochs: int | None = None


class OptimizerSchedule:
    """An optimiser, of its own unless one is given, and its step size over the epochs."""

    def __init__(self, parameters: list[nn.Parameter], recipe: Recipe, optimizer: torch.optim.Optimizer | None = None):
        self.recipe = recipe
        self.optimizer = optimizer or _optimizer(parameters, recipe)
        self.scheduler = _scheduler(self.optimizer, recipe)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the schedule runs ahead of the first step on purpose
            for _ in range(recipe.ahead):
                self.scheduler.step()

    @property
    def lr(self) -> float:
        """The epoch's step size, warm-up aside."""
        return self.scheduler.get_last_lr()[0]

    @property
    def now(self) -> float:
        """The present step's step size."""
        return self.optimizer.param_groups[0]["lr"]

    def before_step(self, epoch: int, step: int, steps: int) -> None:
        """Set the step size where it changes within an epoch of ``steps`` steps."""
        if epoch < self.recipe.warmup:
            self.set_lr(self.lr * min(1.0, (epoch * steps + step + 1) / (self.recipe.warmup * steps)))
        elif self.recipe.schedule == "smooth":
            self.set_lr(self.recipe.lr * _share(self.recipe, epoch + step / steps))

    def after_epoch(self) -> None:
        """Go on to the next epoch's step size."""
        self.set_lr(self.lr)
        self.scheduler.step()

    def set_lr(self, lr: float) -> None:
        """Step by this from now on."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def state(self) -> dict[str, Any]:
        """Optimiser and schedule, under the reference's keys."""
        return {"optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])


class Training:
    """A model on its way through a recipe; everything a checkpoint needs to go on from an epoch.

    Args:
        model: trained in place; it stays on its device.
        recipe: how.
        mask: weights to hold at zero; empty for a dense model.
        only: True where a weight may change; None for all. The gradient of the others is taken away before the step.
        held: keep the others at their values; without it momentum and weight decay still move them.
        optimizer: of another training of the same model, to step with that one's momentum.
        others: recipes of further optimisers, for passes that name them.
        still: modules that stay in eval mode: batch norm uses and keeps its statistics, dropout is off.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        mask: Mask,
        only: Mask | None = None,
        held: bool = True,
        optimizer: torch.optim.Optimizer | None = None,
        others: Sequence[Recipe] = (),
        still: Sequence[nn.Module] = (),
    ):
        self.model, self.recipe, self.epoch = model, recipe, 0
        self._timed = False
        self._only, self._held, self._still = only, held, still
        self.hold_mask(mask)
        parameters = _parameters(model, mask)
        self._device = parameters[0].device
        self.pace = OptimizerSchedule(parameters, recipe, optimizer)
        self._others = {other: OptimizerSchedule(parameters, other) for other in others}
        self.climb = ASAM(list(model.parameters()), recipe.sam_rho) if recipe.sam_rho else None

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of every pass that has none of its own."""
        return self.pace.optimizer

    def hold_mask(self, mask: Mask) -> None:
        """Hold these weights at zero from now on, and those that must not change where they are now."""
        self.hold = MaskEnforcer(self.model, mask)
        self.salient = None if self._only is None else MaskEnforcer(self.model, self._only, at_zero=False)

    def state(self) -> dict[str, Any]:
        """Epochs finished, optimiser and schedule, under the reference's keys; further optimisers where there are any."""
        others = {"others": [pace.state() for pace in self._others.values()]} if self._others else {}
        return {"epoch": self.epoch, **self.pace.state(), **others}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; the model's weights are loaded separately."""
        self.epoch = state["epoch"]
        self.pace.restore(state)
        for pace, stored in zip(self._others.values(), state.get("others", ())):
            pace.restore(stored)

    def run(
        self,
        images: Trainable | Callable[[int], Trainable] | Sequence[Pass],
        seed: int,
        objective: Objective = cross_entropy,
    ) -> Iterator[EpochLog]:
        """Train the remaining epochs, yielding after each.

        Every epoch draws from its own seed, so that a resumed run repeats an undisturbed one.

        Args:
            images: what to train on, a function from an epoch's number, from 0, to it, or the passes that make an epoch.
            seed: fixes order, augmentation and whatever else the epochs draw.
            objective: (model, images, labels, epoch) -> (loss to descend, logits); passes have their own.
        Raises:
            DivergedError: the loss, or a weight, is no longer finite.
        """
        passes = images if isinstance(images, Sequence) else [Pass(images, objective)]
        while self.epoch < self.recipe.epochs:
            yield self._one_epoch(passes, seeds.derive(seed, "epoch", self.epoch))

    def _one_epoch(self, passes: Sequence[Pass], seed: int) -> EpochLog:
        """All passes of one epoch; the figures are those of the last."""
        lr, tally = self.pace.lr, self.begin_epoch(seed)
        for number, each in enumerate(passes):
            if each.epochs is None or self.epoch < each.epochs:
                self._one_pass(each, seeds.derive(seed, "pass", number) if number else seed, tally)
        for pace in (self.pace, *self._others.values()):
            pace.after_epoch()
        return self.end_epoch(tally, lr)

    def _one_pass(self, each: Pass, seed: int, tally: EpochMeter) -> None:
        """One walk through a set, which alone ``tally`` counts."""
        pace = self.pace if each.recipe is None else self._others[each.recipe]
        images = each.images(self.epoch) if callable(each.images) else each.images
        size = each.batch_size or pace.recipe.batch_size
        sizes = images.sizes(size)
        left = len(sizes) if self.recipe.steps is None else min(len(sizes), self.recipe.steps - self.epoch * len(sizes))
        shown = sys.stderr.isatty() and parallel.is_main()
        batches = islice(images.batches(size, seed, parallel.part), left)
        bar = tqdm(
            batches, total=left, desc=f"epoch {self.epoch + 1}/{self.recipe.epochs}", leave=False, disable=not shown
        )
        tally.clear()
        pulse = Pulse(self.epoch, self.recipe.epochs, left, not self._timed, parallel.is_main() and not shown)
        with memory.steps(size, "--forget_batch_size" if each.batch_size else "--batch_size"):
            for step, (batch, labels) in enumerate(bar):
                pace.before_step(self.epoch, step, len(sizes))
                loss, logits = self.gradients(each.objective, batch, labels, sizes[step])
                self.advance(pace)
                tally.add(loss, logits, labels, sizes[step])
                pulse.beat(step)
                if tally.broken:
                    break
        self._timed = True
        self._figures(tally, pace)

    def begin_epoch(self, seed: int) -> EpochMeter:
        """Seed what layers draw and set the model's mode; add the epoch's steps to the result."""
        tally = EpochMeter(self._device)
        torch.manual_seed(seed if parallel.is_main() else seeds.derive(seed, "process", parallel.rank()))
        self.model.train(not self.recipe.eval_mode)
        for module in self._still:
            module.eval()
        return tally

    def end_epoch(self, tally: EpochMeter, lr: float) -> EpochLog:
        """Count the epoch as finished.

        Raises:
            DivergedError: the loss, a weight, or what the optimiser remembers is no longer finite.
        """
        loss, accuracy = self._figures(tally, self.pace)
        moments = (
            pair for kept in self.optimizer.state.values() for pair in kept.items() if isinstance(pair[1], Tensor)
        )
        finite.check(
            [*finite.state(self.model), *moments],
            f"in epoch {self.epoch + 1} at learning rate {lr:g}; try a smaller one",
        )
        self.epoch += 1
        synchronise(tally.device)
        return EpochLog(self.epoch, lr, loss, accuracy, time.perf_counter() - tally.started)

    def _figures(self, tally: EpochMeter, pace: OptimizerSchedule) -> tuple[float, float]:
        loss, accuracy, steps = tally.means()
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss became {loss} in epoch {self.epoch + 1}, step {steps + 1}, at learning rate {pace.now:g}; try a smaller one"
            )
        return loss, accuracy

    def gradients(self, objective: Objective, batch: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Gradients over a whole batch of ``count`` images from this process's part, masked, then clipped; loss and logits."""
        weight = parallel.weight(count)
        with cpu_arithmetic(self.model, count):
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

    def advance(self, pace: OptimizerSchedule | None = None) -> None:
        """Step along the present gradients, with an optimiser of ``others`` if it is given."""
        (pace or self.pace).optimizer.step()
        self.hold()
        if self.salient is not None and self._held:
            self.salient()

    def _gradient(self, objective: Objective, batch: Tensor, labels: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        with half(self._device, self.recipe.amp):
            loss, logits = objective(self.model, batch, labels, self.epoch)
        self.model.zero_grad(set_to_none=True)
        (loss * weight if weight != 1 else loss).backward()
        parallel.average_gradients(self.model.parameters())
        return loss, logits

    def set_lr(self, lr: float) -> None:
        """Step by this from now on."""
        self.pace.set_lr(lr)


def _optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, foreach=True
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, foreach=True)


def _scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule in ("step", "drops"):
        milestones = (
            list(recipe.milestones)
            if recipe.schedule == "step"
            else [-(-recipe.epochs * tenths // 10) for tenths in DROPS]
        )
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=recipe.decay)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: _share(recipe, epoch))


def _share(recipe: Recipe, epoch: float) -> float:
    """Step size after ``epoch`` epochs as a share of ``recipe.lr``; a schedule that runs ahead does not rise again."""
    if recipe.schedule == "constant" or epoch < recipe.warmup:
        return 1.0
    if recipe.schedule == "triangle":
        top = (recipe.epochs + 1) // 2
        return (epoch + 1) / top if epoch < top else max(0.0, (recipe.epochs - epoch) / (recipe.epochs + 1 - top))
    done = (epoch - recipe.warmup) / max(recipe.epochs - recipe.warmup, 1)
    share = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return share if recipe.schedule == "cosine" else recipe.floor / recipe.lr + (1 - recipe.floor / recipe.lr) * share


def _parameters(model: nn.Module, mask: Mask) -> list[nn.Parameter]:
    """Parameters in the order in which the reference's files list them: a pruned weight behind its layer's bias."""
    ordered = []
    for layer, module in model.named_modules():
        own = list(module.named_parameters(recurse=False))
        own.sort(key=lambda item: f"{layer}.{item[0]}" in mask)
        ordered += [parameter for _, parameter in own]
    return ordered
