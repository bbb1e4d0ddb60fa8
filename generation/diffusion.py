"""Diffusion as a task: a model is trained to guess the noise in an image of a class at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from generation.samplers import guided, trajectory
from generation.schedule import Schedule, sequence
from trainer.task import Batch, Figures, Task
from utils import seeds

STAND_INS = ("next", "random", "null", "mix")  # what the forgotten class is drawn as


@dataclass(frozen=True)
class Diffusion(Task):
    """The squared error of the guessed noise, summed over channels and pixels.

    A batch's inputs are float images [B, C, H, W] in [0, 1]; the model gets them in [-1, 1]. A target is a class c,
    or c + (c' + 1) * classes for a class c that is to be drawn as c'.

    Args:
        classes: their number.
        schedule: the noise of every time.
        class_drop: share of samples whose class is dropped while training.
        stand_in: what a class to forget is drawn as: the next one, another drawn at random, no class (null), or the
            mean over all others (mix).
        compat: "fixed" or "reference".
        cond_scale: with "reference", the guidance of the guess whose gradients saliency judges by.
        clip: with "reference", the longest such gradient of a batch that is not scaled down.
    Source: Ho et al. 2020 (DDPM), algorithm 1; Ho and Salimans 2021 (dropped classes).
    """

    classes: int
    schedule: Schedule = field(default_factory=Schedule)
    class_drop: float = 0.1
    stand_in: str = "next"
    compat: str = "fixed"
    cond_scale: float = 2.0
    clip: float = 1.0
    name: ClassVar[str] = "diffusion"

    @property
    def longest(self) -> float:
        return self.clip if self.compat == "reference" else 0.0

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """float [B]. A sample's class is dropped with probability ``class_drop``."""
        times, noise = self.draw(batch)
        return self.at(model, batch, times, noise, self.keep(batch)), {}

    def taught(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """float [B]: squared distance to what the model guesses for the class that a sample is to be drawn as.

        A sample without such a class has its plain loss. With ``compat`` "reference" classes are dropped on both
        sides, and the distance is a mean over channels and pixels.

        Source: Fan et al. 2024 (SalUn), section 4.
        """
        images, times, noise = self.noised(batch)
        classes, others = batch.targets % self.classes, batch.targets // self.classes - 1
        plain, drops = others < 0, self.compat == "reference"
        keep = self.keep(batch)
        if keep is not None and not drops:
            keep = keep | ~plain
        guess = model(images, times, classes, keep)
        with torch.no_grad():
            wanted = self._stand_in(model, (images, times), classes, others.clamp(min=0), batch)
        losses = squared(guess, torch.where(plain[:, None, None, None], noise, wanted))
        return (torch.where(plain, losses, losses / images[0].numel()) if drops else losses), {}

    def scored(self, model: nn.Module, batch: Batch) -> Tensor:
        """float [B], of kept classes. With ``compat`` "reference" the guess is guided."""
        images, times, noise = self.noised(batch)
        if self.compat == "reference":
            return squared(guided(model, images, times, batch.targets, self.cond_scale), noise)
        return squared(model(images, times, batch.targets, torch.ones_like(times, dtype=torch.bool)), noise)

    def wrong_targets(self, targets: Tensor, seed: int, exclude_true: bool = True) -> Tensor:
        """A class that every sample's class is to be drawn as, beside it; ``seed`` counts for "random" alone."""
        others = (targets + 1) % self.classes
        if self.stand_in == "random":
            random = seeds.generator(seed, "random classes")
            low = int(exclude_true)
            others = (targets + torch.randint(low, self.classes, targets.shape, generator=random).to(targets)) % (
                self.classes
            )
        return targets + (others + 1) * self.classes

    def at(self, model: nn.Module, batch: Batch, times: Tensor, noise: Tensor, keep: Tensor | None) -> Tensor:
        """Losses, float [B], at given times with given noise."""
        return squared(
            model(self.schedule.noised(2 * batch.inputs - 1, noise, times), times, batch.targets, keep), noise
        )

    def guided(self, model: nn.Module, noisy: Tensor, times: Tensor, targets: Tensor, strength: float) -> Tensor:
        """Guesses [B, C, H, W] for noisy images with the targets' part overstated; see ``samplers.guided``."""
        return guided(model, noisy, times, targets, strength)

    @torch.no_grad()
    def underway(self, model: nn.Module, batch: Batch, points: int, strength: float) -> tuple[Tensor, Tensor]:
        """Pictures of a batch's targets that are not finished: noisy [B, C, H, W], and times int64 [B].

        The model draws them by DDIM, in eval mode, and stops at a random one of the ``points`` times on the way. Their
        times lie between that one and the one before.

        Source: Gandikota et al. 2023 (ESD), section 4, and its authors' code.
        """
        count, walk = len(batch), sequence("uniform", points, self.schedule.steps)
        stop = int(torch.randint(len(walk), (), generator=batch.random))
        start, mode = batch.draw(torch.randn, batch.inputs.shape), model.training
        low, high = walk[stop], [*walk, self.schedule.steps][stop + 1]

        def predict(noisy: Tensor, times: Tensor) -> Tensor:
            return self.guided(model, noisy, times, batch.targets, strength)

        model.eval()
        path = trajectory("generalized", predict, start, walk[stop:], self.schedule, torch.randn_like, eta=0.0)
        [noisy] = deque(chain([start], islice(path, len(walk) - stop - 1)), maxlen=1)
        model.train(mode)
        return noisy, low + batch.draw(torch.randint, 0, high - low, (count,))

    def noised(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The images with noise [B, C, H, W], their times int64 [B], and that noise."""
        clean = 2 * batch.inputs - 1
        times, noise = self.draw(batch)
        return self.schedule.noised(clean, noise, times), times, noise

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Times in antithetic pairs, int64 [B], and standard normal noise [B, C, H, W]."""
        count = len(batch)
        half = batch.draw(torch.randint, 0, self.schedule.steps, (count // 2 + 1,))
        times = torch.cat([half, self.schedule.steps - 1 - half])[:count]
        return times, batch.draw(torch.randn, batch.inputs.shape)

    def keep(self, batch: Batch) -> Tensor | None:
        """bool [B], False where the class is dropped; None, without a draw, where none ever is."""
        if self.class_drop == 0:
            return None
        if self.class_drop == 1:
            return torch.zeros(len(batch), dtype=torch.bool, device=batch.inputs.device)
        return batch.draw(torch.rand, (len(batch),)) < 1 - self.class_drop

    def _stand_in(
        self, model: Callable[..., Any], noised: tuple[Tensor, Tensor], classes: Tensor, others: Tensor, batch: Batch
    ) -> Tensor:
        """What the model guesses for what the classes are to be drawn as."""
        if self.stand_in == "null":
            return model(*noised, classes, torch.zeros_like(classes, dtype=torch.bool))
        if self.stand_in == "mix":
            shifts = range(1, self.classes)
            return torch.stack([model(*noised, (classes + shift) % self.classes, None) for shift in shifts]).mean(0)
        return model(*noised, others, self.keep(batch) if self.compat == "reference" else None)


def squared(guess: Tensor, noise: Tensor) -> Tensor:
    """Squared error of every sample, summed over channels and pixels: [B]."""
    return (noise - guess).square().flatten(1).sum(1)
