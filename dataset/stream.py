"""Image sets that stay on disk: worker processes decode, crop and resize while the device computes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset.images import Images, Part, scale, spans
from dataset.reading import Reader, in_chunks, open_image
from utils import seeds

if TYPE_CHECKING:
    from typing_extensions import Self

CHUNK = 16  # images that a worker reads at a time; small, so that all workers share a batch and little shared memory
RESIZED = 256 / 224  # shorter side before the central crop, relative to the side of the crop


@dataclass(frozen=True)
class Zoom:
    """Random resized crop: 8 to 100 % of the image's area at an aspect ratio from 3:4 to 4:3, then a random flip.

    Source: Szegedy et al. 2015, section 6.
    """

    flip: bool = True


@dataclass(frozen=True)
class Flip:
    """A horizontal flip with probability 1/2, and no crop at random."""


@dataclass(frozen=True, eq=False)
class OnDisk:
    """Image files, and how they are read, resized and cropped.

    Attributes:
        paths: files of the images, bytes [N].
        size: side of the resulting square images in pixels.
        distort: for images without augmentation: True resizes them to a square whatever their shape, as the reference
            does, False resizes the shorter side and keeps the shape. A central crop follows.
        workers: number of processes that read; results do not depend on it.
        resized: shorter side before the central crop, relative to the side of the crop.
    """

    paths: np.ndarray = field(repr=False)
    size: int
    distort: bool = False
    workers: int = 0
    resized: float = RESIZED

    def transform(self, augment: Zoom | Flip | None) -> Callable[[Image.Image], Image.Image]:
        """A function from an RGB image of any shape to one of ``size`` x ``size`` pixels."""
        from torchvision.transforms import v2

        if isinstance(augment, Zoom):
            return v2.Compose([v2.RandomResizedCrop(self.size), v2.RandomHorizontalFlip(0.5 if augment.flip else 0.0)])
        side = round(self.size * self.resized)
        plain = [v2.Resize((side, side) if self.distort else side), v2.CenterCrop(self.size)]
        return v2.Compose([*plain, *([v2.RandomHorizontalFlip(0.5)] if augment is not None else [])])

    @functools.cached_property
    def uncropped(self) -> OnDisk:
        """These images with their shape kept and nothing cut off the shorter side; always the same object."""
        return replace(self, resized=1.0, distort=False)


@dataclass(frozen=True)
class Cut(Reader):
    """Images after a transform that may be random.

    Attributes:
        transform: maps an RGB image to one of a fixed size.
        seed: together with an image's position it seeds the transform, so results do not depend on the order of
            reading; None for a transform that is not random.
    """

    transform: Callable[[Image.Image], Image.Image]
    seed: int | None

    def pixels(self, position: int) -> np.ndarray:
        """The transformed image."""
        image = open_image(self.paths[position])
        if self.seed is None:
            return np.asarray(self.transform(image))
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the CPU's global generator
            torch.default_generator.manual_seed(seeds.derive(self.seed, "augmentation", position))
            return np.asarray(self.transform(image))


class StreamedSet(Images):
    """Images read from disk batch by batch.

    Args:
        source: ``OnDisk``; shared by all views.
        labels: labels of all images of the source, int64 [N], on the device where batches go.
        indices: which of the N images belong to this set, int64 [M]; None for all.
        augment: a ``Zoom`` or ``Flip`` for shuffled images; None for no augmentation.
    """

    @property
    def pixels(self) -> int:
        return self.source.size**2

    def flips_alone(self) -> Self:
        """This set with uncropped images, and with flips as its only augmentation, or with none if it has no flips."""
        flips = isinstance(self.augment, Zoom) and self.augment.flip
        return self._copy(source=self.source.uncropped, augment=Flip() if flips else None)

    def _read(
        self, order: Tensor, size: int, seed: int | None, part: Part | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        augment = None if seed is None else self.augment
        source = self.source
        paths = source.paths[order.cpu().numpy()]
        reader = Cut(paths, source.transform(augment), None if augment is None else seed)
        batches = self._spans(size, part)
        chunks_of = [[batch[chunk.start : chunk.stop] for chunk in spans(len(batch), CHUNK)] for batch in batches]
        # enough chunks for the next batch to be read while this one is computed
        ahead = max(2, math.ceil(size / (CHUNK * max(source.workers, 1))))
        on_gpu = self.device.type == "cuda"
        chunks = in_chunks(reader, list(chain.from_iterable(chunks_of)), source.workers, ahead, pinned=on_gpu)
        for batch, own in zip(batches, chunks_of):
            pixels = torch.cat([chunk.to(self.device, non_blocking=on_gpu) for chunk in islice(chunks, len(own))])
            yield scale(pixels.permute(0, 3, 1, 2)), self._labels[order[batch.start : batch.stop]]
