"""Synthetic images of CIFAR-10's shape, and models, for the benchmarks; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import models
import pruner
from benchmarks.baseline import PerImage
from dataset.images import Augment, ImageSet
from utils import seeds

SIDE, CLASSES = 32, 10


@dataclass(frozen=True)
class Drawn:
    """Synthetic images and labels, for the project's and for the plain version of a step.

    Attributes:
        images: a coarse pattern per class with noise, uint8 [N, 32, 32, 3].
        labels: int64 [N].
    """

    images: np.ndarray
    labels: Tensor

    def ours(
        self, device: torch.device, augment: Augment | None = None, start: int = 0, stop: int | None = None
    ) -> ImageSet:
        """The images from ``start`` to ``stop`` (None: to the end) as an image set of the project, on the device."""
        source = torch.from_numpy(self.images).to(device).permute(0, 3, 1, 2)
        stop = len(self.labels) if stop is None else stop
        return ImageSet(source, self.labels.to(device), np.arange(start, stop), augment)

    def plain(self, start: int = 0, stop: int | None = None) -> PerImage:
        """The images from ``start`` to ``stop`` (None: to the end) as a plain data set."""
        return PerImage(self.images[start:stop], self.labels[start:stop])

    def shuffled(self, images: ImageSet, seed: int) -> PerImage:
        """A plain data set with the order, crops and flips that ``images.batches(..., seed)`` draws."""
        order = torch.randperm(len(images), generator=seeds.generator(seed, "order"))
        random = seeds.generator(seed, "augmentation")
        shifts = torch.randint(0, 2 * images.augment.pad + 1, (len(images), 2), generator=random)
        flips = torch.rand(len(images), generator=random) < 0.5
        return PerImage(self.images[order.numpy()], self.labels[order], shifts, flips)


def draw(count: int, seed: int = 0, noisier: int = 0) -> Drawn:
    """Draw ``count`` images with labels; the last ``noisier`` of them have 1.5 times the noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    coarse = np.random.default_rng(1).uniform(60, 190, (CLASSES, 4, 4, 3))
    patterns = coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2).astype(np.float32)
    noise = random.standard_normal((count, SIDE, SIDE, 3), dtype=np.float32) * 60
    noise[count - noisier :] *= 1.5
    return Drawn((patterns[labels] + noise).clip(0, 255).astype(np.uint8), torch.from_numpy(labels))


def model(arch: str, device: torch.device) -> nn.Module:
    """A new model, equal in every call, in the project's memory layout."""
    torch.manual_seed(0)
    return models.build(arch, CLASSES, ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)), size=SIDE).to(device)


def mask(network: nn.Module) -> pruner.Mask:
    """The mask of global magnitude pruning to a sparsity of 95 %, True for weights that are kept."""
    return pruner.prune(network, "magnitude", 0.95, pruner.Sample(0))
