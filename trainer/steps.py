"""The steps of an epoch, each with a batch, an objective and an optimiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch

from dataset.combined import Chain
from dataset.images import Images
from dataset.pairs import Marked, Paired
from pruner import MaskEnforcer
from trainer.recipe import OptimizerSchedule, Recipe
from trainer.task import Batch, Objective
from utils import parallel, seeds

Trainable = Images | Chain | Paired | Marked  # sets that a pass can go over


@dataclass(slots=True)
class Step:
    """One step of an epoch.

    Attributes:
        batch: this process's part of the batch.
        count: number of images of the whole batch, over all processes.
        objective: what to minimise on the batch.
        schedule: the optimiser to use; None for the training's.
        position: number of the step in its pass, from 0, and number of steps of that pass.
        group: number of the meter that counts the step; an epoch's figures are those of the last group. A step of None
            is not counted, and the moving average of the weights does not follow it.
        lr: step size; None for the schedule's.
        l1: weight of the sum of the absolute values of all weights, which is added to the objective's loss.
        update_mask: holds the weights that the step may not change; None for that of the training.
        moves: False does not change the weights, but leaves the gradients for the next step to add to its own.
        after: called after the step.
        alike: whether the steps of this group in this epoch differ only by their batches and step sizes.
        resumable: whether a killed run can go on after this step.
        limit: the value and the name of the flag that sets how many images are computed at once.
    """

    batch: Batch
    count: int
    objective: Objective
    schedule: OptimizerSchedule | None = None
    position: tuple[int, int] = (0, 1)
    group: int | None = 0
    lr: float | None = None
    l1: float = 0.0
    update_mask: MaskEnforcer | None = None
    moves: bool = True
    after: Callable[[], None] | None = None
    alike: bool = False
    resumable: bool = True
    limit: tuple[int | None, str] = (None, "")


class Plan(ABC):
    """The steps of every epoch of a training.

    Attributes:
        schedules: optimisers that the steps use besides the training's own.
    """

    schedules: Sequence[OptimizerSchedule] = ()

    @abstractmethod
    def count(self, epoch: int) -> int:
        """Number of steps of epoch number ``epoch``, from 0."""

    @abstractmethod
    def steps(self, epoch: int, seed: int, start: int) -> Iterator[Step]:
        """The steps of an epoch from number ``start`` on; ``seed`` is the training's."""

    def state(self) -> dict[str, Any]:
        """The state that a killed run needs to go on, as plain values and tensors."""
        return {"optimizers": [schedule.state() for schedule in self.schedules]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        for schedule, stored in zip(self.schedules, state["optimizers"]):
            schedule.restore(stored)


@dataclass(frozen=True)
class Pass:
    """One pass over a set in every epoch.

    Attributes:
        images: the set, or a function from the epoch's number (from 0) to it.
        objective: maps the model and a batch to the loss to minimise and the figures to log. The set determines what
            the inputs and targets of a batch are.
        recipe: the recipe of an optimiser of its own; None for the training's optimiser.
        batch_size: None for that of the recipe.
        epochs: number of first epochs that have this pass; None for all.
        l1: maps the epoch's number (from 0) to the weight of the sum of the weights' absolute values, which is added to
            the loss; None for 0.
        after: called after each step, with the step's number among all of this pass, from 0.
    """

    images: Trainable | Callable[[int], Trainable]
    objective: Objective
    recipe: Recipe | None = None
    batch_size: int | None = None
    epochs: int | None = None
    l1: Callable[[int], float] | None = None
    after: Callable[[int], None] | None = None

    def at(self, epoch: int) -> Trainable:
        """The set of an epoch."""
        return self.images(epoch) if callable(self.images) else self.images

    def plain(self) -> Pass:
        """This pass without augmentation."""
        return replace(self, images=lambda epoch: self.at(epoch).plain())


_Part = tuple[int, Pass, int, Trainable, list[int]]  # a pass with its number, batch size, set and batches' sizes


class Passes(Plan):
    """Epochs that make one pass after the other.

    Args:
        passes: the passes.
        recipe: the training's recipe, for passes that have none.
        random: the generator that losses draw from.
        schedule_of: makes an optimiser for a recipe.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        recipe: Recipe,
        random: torch.Generator,
        schedule_of: Callable[[Recipe], OptimizerSchedule],
    ):
        self._passes, self._recipe, self._random = passes, recipe, random
        self._own: dict[Recipe | None, OptimizerSchedule] = {
            each.recipe: schedule_of(each.recipe) for each in passes if each.recipe is not None
        }
        self.schedules = tuple(self._own.values())
        self._epoch: tuple[int, list[_Part]] = (-1, [])

    def count(self, epoch: int) -> int:
        return sum(len(sizes) for *_, sizes in self._parts(epoch))

    def steps(self, epoch: int, seed: int, start: int) -> Iterator[Step]:
        seed = seeds.derive(seed, "epoch", epoch)
        for number, each, size, images, sizes in self._parts(epoch):
            skipped, start = min(start, len(sizes)), max(start - len(sizes), 0)
            batches = images.batches(size, seeds.derive(seed, "pass", number) if number else seed, parallel.part)
            limit = size, "--forget_batch_size" if each.batch_size else "--batch_size"
            l1 = 0.0 if each.l1 is None else each.l1(epoch)
            for step, (inputs, targets) in enumerate(islice(batches, skipped, len(sizes)), skipped):
                batch, position = Batch(inputs, targets, epoch, self._random), (step, len(sizes))
                schedule = self._own.get(each.recipe)
                current = Step(batch, sizes[step], each.objective, schedule, position, number, l1=l1, limit=limit)
                after = None if each.after is None else partial(each.after, epoch * len(sizes) + step)
                yield replace(current, alike=True, after=after)

    def _parts(self, epoch: int) -> list[_Part]:
        """The passes of an epoch; they are made once per epoch, because sets may draw labels."""
        if self._epoch[0] != epoch:
            parts = []
            for number, each in enumerate(self._passes):
                if each.epochs is None or epoch < each.epochs:
                    size = each.batch_size or (each.recipe or self._recipe).batch_size
                    images = each.at(epoch)
                    parts.append((number, each, size, images, images.sizes(size)))
            self._epoch = epoch, parts
        return self._epoch[1]
