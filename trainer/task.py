"""Tasks: what training needs to know of them, namely losses per sample, figures to log, and wrong targets."""

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

Figures = dict[str, Tensor]  # values in [0, 1] for every sample, [B] by name; their means are logged


@dataclass(frozen=True, slots=True)
class Batch:
    """This process's part of one batch: what an objective is computed from.

    Attributes:
        inputs: float images [B, C, H, W], or whatever else the set yields, such as a pair of these.
        targets: int64 classes [B], or whatever else the set yields.
        epoch: number of the present epoch, from 0.
        random: a generator on the CPU, from which ``draw`` draws; None for torch's global generator.
    """

    inputs: Any
    targets: Any
    epoch: int = 0
    random: torch.Generator | None = None

    def __len__(self) -> int:
        """Number of samples; for a pair, that of its first part."""
        return len(self.inputs[0] if isinstance(self.inputs, tuple) else self.inputs)

    def draw(self, sampler: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Random numbers on the inputs' device: ``draw(torch.randn, shape)``, ``draw(torch.randint, 0, 9, shape)``.

        They are drawn on the CPU, so all devices get the same numbers, and copied without waiting for the device.
        """
        inputs = self.inputs[0] if isinstance(self.inputs, tuple) else self.inputs
        return moved(sampler(*arguments, generator=self.random), inputs.device)

    def part(self, number: int) -> Batch:
        """Part ``number``, 0 or 1, of a batch of pairs."""
        return replace(self, inputs=self.inputs[number], targets=self.targets[number])


Objective = Callable[[nn.Module, Batch], tuple[Tensor, Figures]]  # the loss to minimise, a scalar, and what to log


class Task(ABC):
    """What a model is trained for. Methods that only need losses work for every task.

    Attributes:
        name: the task's name, as in ``tasks`` of a method and in errors.
    """

    name: ClassVar[str]

    @property
    def longest(self) -> float:
        """Length to which longer batch gradients are scaled down for saliency in ``--compat reference``; 0 is off."""
        return 0.0

    @abstractmethod
    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """Every sample's loss, float [B] and differentiable, and every sample's figures.

        Random numbers come from ``batch.draw``. The model is only called, without use of its attributes, because
        gradients of single samples are computed by ``torch.func``.
        """

    @abstractmethod
    def wrong_targets(self, targets: Tensor, seed: int, exclude_true: bool = True) -> Tensor:
        """A random target for every sample, of the shape and on the device of ``targets``.

        Args:
            targets: the samples' own targets.
            seed: seeds the draw.
            exclude_true: never draw the sample's own target.
        """

    def taught(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """``losses`` for samples some of whose targets are from ``wrong_targets``; by default ``losses`` itself."""
        return self.losses(model, batch)

    def climbed(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """``losses`` for gradient ascent on samples to forget; by default ``losses`` itself."""
        return self.losses(model, batch)

    def scored(self, model: nn.Module, batch: Batch) -> Tensor:
        """Every sample's loss, float [B], whose gradients measure saliency; by default that of ``losses``."""
        return self.losses(model, batch)[0]

    def mean(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """The plain objective: the mean loss, a scalar, and the figures."""
        losses, figures = self.losses(model, batch)
        return losses.mean(), figures

    def expected(self, model: nn.Module, batch: Batch) -> Iterator[tuple[Tensor | float, Tensor]]:
        """Pairs of weight and mean loss over possible targets, for Fisher information.

        By default there is one pair, for the samples' own targets.
        """
        yield 1.0, self.mean(model, batch)[0]


@dataclass(frozen=True)
class Classification(Task):
    """Cross-entropy of the model's logits, in nats.

    Args:
        classes: number of classes; only needed for wrong targets.
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
        """A class for every image, drawn uniformly from all other classes, or from all."""
        random = seeds.generator(seed, "random labels")
        drawn = torch.randint(int(exclude_true), self.classes, targets.shape, generator=random).to(targets.device)
        return (targets + drawn) % self.classes if exclude_true else drawn

    def expected(self, model: nn.Module, batch: Batch) -> Iterator[tuple[Tensor | float, Tensor]]:
        """One pair per class: the mean probability that the model gives it, and the mean loss for this class."""
        log_probs = F.log_softmax(model(batch.inputs), dim=1)
        yield from zip(log_probs.detach().exp().mean(0), -log_probs.mean(0))


def accuracy(logits: Tensor, classes: Tensor) -> Figures:
    """The figure ``accuracy``: whether each image's largest logit is that of its class, bool [B]."""
    return {"accuracy": logits.detach().argmax(1) == classes}
