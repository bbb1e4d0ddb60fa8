"""Diffusion as a ``Task``: a model learns to predict the noise in a noisy image, given its class and time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from generation.codec import Codec
from generation.samplers import guided, trajectory
from generation.schedule import Schedule, sequence
from generation.variance import bits
from trainer.task import Batch, Figures, Task
from utils import seeds

PIXELS = Codec()


@dataclass(frozen=True)
class Diffusion(Task):
    """The task of predicting noise. A sample's loss is the squared error, summed or averaged over channels and pixels.

    A batch's inputs are float images [B, C, H, W] in [0, 1], of which ``codec`` makes what is noised. A target is a
    class c, or c + (c' + 1) * classes for a class c that is to be drawn as class c'. A model that also predicts the
    variance of its steps, in further channels, has the variational bound in bits added to its loss; the gradient of
    the bound acts on these channels only.

    Args:
        classes: number of classes.
        schedule: the noise at every time.
        class_drop: share of samples whose class is dropped while training, in [0, 1].
        stand_in: what a class to forget is to be drawn as: "next" (the next class), "random" (another class), "null"
            (no class), "mix" (the mean over all others), or "instead" (class number ``classes``, which no image is of).
        compat: "fixed" or "reference".
        cond_scale: with "reference", the guidance of the predictions in ``scored``, from which saliency follows.
        clip: with "reference", the largest norm of a batch's gradient for saliency; longer ones are scaled down.
        codec: converts images to what is noised.
        average: whether losses are means over channels and pixels; else sums.
        guided_channels: number of channels on which guidance acts, see ``samplers.guided``.
    Source: Ho et al. 2020 (DDPM), algorithm 1; Ho and Salimans 2021 (dropped classes); Nichol and Dhariwal 2021,
    section 3.1 (guessed variances).
    """

    classes: int
    schedule: Schedule = field(default_factory=Schedule)
    class_drop: float = 0.1
    stand_in: str = "next"
    compat: str = "fixed"
    cond_scale: float = 2.0
    clip: float = 1.0
    codec: Codec = PIXELS
    average: bool = False
    guided_channels: int | None = None
    name: ClassVar[str] = "diffusion"

    @property
    def longest(self) -> float:
        return self.clip if self.compat == "reference" else 0.0

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """Losses of a training step, float [B]. A sample's class is dropped with probability ``class_drop``."""
        times, noise = self.draw(batch)
        return self.at(model, batch, times, noise, self.keep(batch)), {}

    def climbed(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """Losses for gradient ascent, float [B]: without the bound, which ascent would make grow without limit.

        With ``compat`` "reference" they are ``losses``, the bound included.
        """
        if self.compat == "reference":
            return self.losses(model, batch)
        noisy, times, noise = self.noised(batch)
        return self.distance(model(noisy, times, batch.targets, self.keep(batch)), noise), {}

    def taught(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """Losses of relabelling, float [B]: distance to the model's prediction for the class to be drawn instead.

        For a sample whose target names no such class it is the error of its noise. With ``compat`` "reference" classes
        are dropped in both predictions, and the distance is a mean over channels and pixels.

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
            target = self._stand_in(model, (images, times), classes, others.clamp(min=0), batch)[:, : noise.shape[1]]
        losses = self.distance(guess, torch.where(plain[:, None, None, None], noise, target))
        if drops and not self.average:
            losses = torch.where(plain, losses, losses / images[0].numel())
        return losses, {}

    def scored(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses for saliency and Fisher information, float [B], with no class dropped.

        With ``compat`` "reference" the prediction is guided by ``cond_scale``.
        """
        images, times, noise = self.noised(batch)
        if self.compat == "reference":
            guess = guided(model, images, times, batch.targets, self.cond_scale, self.guided_channels)
        else:
            guess = model(images, times, batch.targets, torch.ones_like(times, dtype=torch.bool))
        return self.error(guess, images, times, noise)

    def wrong_targets(self, targets: Tensor, seed: int, exclude_true: bool = True) -> Tensor:
        """Targets that name the class to be drawn instead, int64 [B], of plain targets int64 [B].

        Args:
            seed: used only where ``stand_in`` is "random".
            exclude_true: for "random", never draw a sample's own class.
        """
        if self.stand_in == "instead":
            return targets + (self.classes + 1) * self.classes
        others = (targets + 1) % self.classes
        if self.stand_in == "random":
            random = seeds.generator(seed, "random classes")
            low = int(exclude_true)
            others = (targets + torch.randint(low, self.classes, targets.shape, generator=random).to(targets)) % (
                self.classes
            )
        return targets + (others + 1) * self.classes

    def at(self, model: nn.Module, batch: Batch, times: Tensor, noise: Tensor, keep: Tensor | None) -> Tensor:
        """Losses, float [B], with given noise [B, C, H, W] at given times int64 [B].

        Args:
            keep: bool [B], False where the class is dropped; None keeps all.
        """
        noisy = self.schedule.noised(self.codec.clean(batch), noise, times)
        return self.error(model(noisy, times, batch.targets, keep), noisy, times, noise)

    def error(self, guess: Tensor, noisy: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """The loss, float [B], of a model's output for noisy images.

        Args:
            guess: the output, [B, C, H, W], or [B, 2 * C, H, W] if it includes the variance.
            noisy: [B, C, H, W].
            times: int64 [B].
            noise: the true noise, [B, C, H, W].
        """
        losses = self.distance(guess, noise)
        if guess.shape[1] == noise.shape[1]:
            return losses
        bound = bits(self.schedule, guess, noisy, times, noise)
        return losses + (bound if self.average else bound * noise[0].numel())

    def distance(self, guess: Tensor, target: Tensor) -> Tensor:
        """Squared distance [B] of the first C channels of ``guess``, the predicted noise, to ``target`` [B, C, H, W].

        It is summed or averaged over channels and pixels, as ``average`` says.
        """
        errors = squared(guess[:, : target.shape[1]], target)
        return errors / target[0].numel() if self.average else errors

    def guided(self, model: nn.Module, noisy: Tensor, times: Tensor, targets: Tensor, strength: float) -> Tensor:
        """Predicted noise [B, C, H, W] with classifier-free guidance of this strength; see ``samplers.guided``."""
        return guided(model, noisy, times, targets, strength, self.guided_channels)[:, : noisy.shape[1]]

    @torch.no_grad()
    def underway(self, model: nn.Module, batch: Batch, points: int, strength: float) -> tuple[Tensor, Tensor]:
        """Partly denoised pictures [B, C, H, W] of a batch's targets, and times int64 [B] for them.

        The model draws them by DDIM, in eval mode, and stops at a random one of the sampling times, the same for all.
        Each picture's time is drawn between that one and the next noisier one.

        Args:
            points: number of sampling times.
            strength: of guidance.

        Source: Gandikota et al. 2023 (ESD), section 4, and its authors' code.
        """
        count, walk = len(batch), sequence("uniform", points, self.schedule.steps)
        stop = int(torch.randint(len(walk), (), generator=batch.random))
        start, mode = batch.draw(torch.randn, self.codec.shape(batch.inputs.shape)), model.training
        low, high = walk[stop], [*walk, self.schedule.steps][stop + 1]

        def predict(noisy: Tensor, times: Tensor) -> Tensor:
            return self.guided(model, noisy, times, batch.targets, strength)

        model.eval()
        path = trajectory("generalized", predict, start, walk[stop:], self.schedule, torch.randn_like, eta=0.0)
        [noisy] = deque(chain([start], islice(path, len(walk) - stop - 1)), maxlen=1)
        model.train(mode)
        return noisy, low + batch.draw(torch.randint, 0, high - low, (count,))

    def noised(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy inputs of a batch [B, C, H, W], their times int64 [B], and the noise in them [B, C, H, W]."""
        times, noise = self.draw(batch)
        return self.schedule.noised(self.codec.clean(batch), noise, times), times, noise

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Times in antithetic pairs (t, T - 1 - t), int64 [B], and standard normal noise [B, C, H, W]."""
        count = len(batch)
        half = batch.draw(torch.randint, 0, self.schedule.steps, (count // 2 + 1,))
        times = torch.cat([half, self.schedule.steps - 1 - half])[:count]
        return times, batch.draw(torch.randn, self.codec.shape(batch.inputs.shape))

    def keep(self, batch: Batch) -> Tensor | None:
        """Which samples keep their class: bool [B], or None for all. Nothing is drawn if ``class_drop`` is 0 or 1."""
        if self.class_drop == 0:
            return None
        if self.class_drop == 1:
            return torch.zeros(len(batch), dtype=torch.bool, device=batch.inputs.device)
        return batch.draw(torch.rand, (len(batch),)) < 1 - self.class_drop

    def _stand_in(
        self, model: Callable[..., Any], noised: tuple[Tensor, Tensor], classes: Tensor, others: Tensor, batch: Batch
    ) -> Tensor:
        """The model's prediction for the stand-ins of ``classes``.

        Args:
            noised: noisy inputs and their times.
            others: the classes to be drawn instead, int64 [B]; not used for "null" and "mix".
        """
        if self.stand_in == "null":
            return model(*noised, classes, torch.zeros_like(classes, dtype=torch.bool))
        if self.stand_in == "mix":
            shifts = range(1, self.classes)
            return torch.stack([model(*noised, (classes + shift) % self.classes, None) for shift in shifts]).mean(0)
        return model(*noised, others, self.keep(batch) if self.compat == "reference" else None)


def squared(guess: Tensor, noise: Tensor) -> Tensor:
    """Squared error of every sample, summed over channels and pixels: [B]."""
    return (noise - guess).square().flatten(1).sum(1)
