"""What training knows of a task: the losses of a batch's samples, figures to log, and what a wrong target is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils import seeds
from utils.device import moved

Figures = dict[str, Tensor]  # by name a value in [0, 1] for every sample, [B]; their means are logged


@dataclass(frozen=True, slots=True)
class Batch:
    """This process's part of one batch: what an objective is computed from.

    Attributes:
        inputs: float images [B, C, H, W], or whatever else the set yields, such as a pair of these.
        targets: int64 classes [B], or whatever else the set yields.
        epoch: its number, from 0.
        random: a generator of the CPU, from which ``draw`` draws; None is torch's own.
    """

    inputs: Any
    targets: Any
    epoch: int = 0
    random: torch.Generator | None = None

    def __len__(self) -> int:
        """Samples; of a pair, those of its first part."""
        return len(self.inputs[0] if isinstance(self.inputs, tuple) else self.inputs)

    def draw(self, sampler: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Random numbers on the inputs' device: ``draw(torch.randn, shape)``, ``draw(torch.randint, 0, 9, shape)``.

        They are drawn on the CPU, so that all devices get the same, and copied while the host goes on.
        """
        inputs = self.inputs[0] if isinstance(self.inputs, tuple) else self.inputs
        return moved(sampler(*arguments, generator=self.random), inputs.device)

    def part(self, number: int) -> Batch:
        """One part of a pair."""
        return replace(self, inputs=self.inputs[number], targets=self.targets[number])


Objective = Callable[[nn.Module, Batch], tuple[Tensor, Figures]]  # the loss to descend, a scalar, and what to log


class Task(ABC):
    """What a model is trained for. Methods that need no more than losses are written against it.

    Attributes:
        name: what a method's ``tasks`` lists, in the words of an error.
    """

    name: ClassVar[str]

    @property
    def longest(self) -> float:
        """With ``--compat reference``: the length to which a batch's gradient is scaled down for saliency; 0 is off."""
        return 0.0

    @abstractmethod
    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """Every sample's loss, float [B] and differentiable, and every sample's figures.

        Whatever it draws comes from ``batch.draw``. It calls ``model`` as a function and nothing else of it,
        because single samples' gradients are taken by ``torch.func``.
        """

    @abstractmethod
    def wrong_targets(self, targets: Tensor, seed: int, exclude_true: bool = True) -> Tensor:
        """A random target for every sample, of the shape and on the device of ``targets``.

        Args:
            exclude_true: never the sample's own.
        """

    def taught(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """Like ``losses``, where some targets are of ``wrong_targets``; here that makes no difference."""
        return self.losses(model, batch)

    def climbed(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """Like ``losses``, of what methods climb; here that makes no difference."""
        return self.losses(model, batch)

    def scored(self, model: nn.Module, batch: Batch) -> Tensor:
        """Every sample's loss, float [B], by whose gradients saliency judges weights; here the plain one."""
        return self.losses(model, batch)[0]

    def mean(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """The plain objective: the mean loss."""
        losses, figures = self.losses(model, batch)
        return losses.mean(), figures

    def expected(self, model: nn.Module, batch: Batch) -> Iterator[tuple[Tensor | float, Tensor]]:
        """Weights and mean losses over what targets could be, for Fisher information; here the targets as they are."""
        yield 1.0, self.mean(model, batch)[0]


@dataclass(frozen=True)
class Classification(Task):
    """Cross-entropy of the model's logits, in nats.

    Args:
        classes: their number; only wrong targets need it.
        label_smoothing: share of a label's weight spread over all classes (Szegedy et al. 2016, section 7).
    """

    classes: int = 0
    label_smoothing: float = 0.0
    name: ClassVar[str] = "classification"

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        logits = model(batch.inputs)
        losses = F.cross_entropy(logits, batch.targets, reduction="none", label_smoothing=self.label_smoothing)
        return losses, accuracy(logits, batch.targets)

    def wrong_targets(self, targets: Tensor, seed: int, exclude_true: bool = True) -> Tensor:
        """A class for every image, drawn uniformly from all other classes or from all."""
        random = seeds.generator(seed, "random labels")
        drawn = torch.randint(int(exclude_true), self.classes, targets.shape, generator=random).to(targets.device)
        return (targets + drawn) % self.classes if exclude_true else drawn

    def expected(self, model: nn.Module, batch: Batch) -> Iterator[tuple[Tensor | float, Tensor]]:
        """One loss per class, weighted by the model's own mean belief in it."""
        log_probs = F.log_softmax(model(batch.inputs), dim=1)
        yield from zip(log_probs.detach().exp().mean(0), -log_probs.mean(0))


def accuracy(logits: Tensor, classes: Tensor) -> Figures:
    """Whether each image's largest logit is that of its class: bool [B]."""
    return {"accuracy": logits.detach().argmax(1) == classes}
