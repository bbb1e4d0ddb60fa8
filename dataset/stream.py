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

CHUNK = 16  # images that a worker reads at a time: all workers share in a batch, which needs little shared memory
RESIZED = 256 / 224  # shorter side before the central crop, in sides of the crop


@dataclass(frozen=True)
class Zoom:
    """A random 8 to 100 % of the image's area, 3:4 to 4:3 in shape, resized to the whole; flipped half of the time.

    Source: Szegedy et al. 2015, section 6.
    """

    flip: bool = True


@dataclass(frozen=True)
class Flip:
    """A flip, half of the time, and nothing else."""


@dataclass(frozen=True, eq=False)
class OnDisk:
    """Image files, what they become, and who reads them.

    Attributes:
        paths: bytes [N].
        size: side in pixels of what comes out.
        distort: without augmentation, resize to a square whatever the shape, as the reference does;
            otherwise the shorter side is resized and the shape kept. The central crop follows.
        workers: processes that read; no result depends on it.
        resized: shorter side before the central crop, in sides of the crop.
    """

    paths: np.ndarray = field(repr=False)
    size: int
    distort: bool = False
    workers: int = 0
    resized: float = RESIZED

    def transform(self, augment: Zoom | Flip | None) -> Callable[[Image.Image], Image.Image]:
        """From an RGB image of any shape to one of ``size`` x ``size``."""
        from torchvision.transforms import v2

        if isinstance(augment, Zoom):
            return v2.Compose([v2.RandomResizedCrop(self.size), v2.RandomHorizontalFlip(0.5 if augment.flip else 0.0)])
        side = round(self.size * self.resized)
        plain = [v2.Resize((side, side) if self.distort else side), v2.CenterCrop(self.size)]
        return v2.Compose([*plain, *([v2.RandomHorizontalFlip(0.5)] if augment is not None else [])])

    @functools.cached_property
    def uncropped(self) -> OnDisk:
        """These images with their shape kept and nothing cut off the shorter side; the same object every time."""
        return replace(self, resized=1.0, distort=False)


@dataclass(frozen=True)
class Cut(Reader):
    """Images after a transform that may draw.

    Attributes:
        seed: each image draws from it and from its position, never from what was drawn before; None for
            a transform that draws nothing.
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
        labels: int64 [N], on the device where batches go.
        augment: a ``Zoom`` or ``Flip`` for shuffled images; None for nothing.
    """

    @property
    def pixels(self) -> int:
        return self.source.size**2

    def flips_alone(self) -> Self:
        """This set with whole images and without any other augmentation than flips, which it has if it had them."""
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
        # one batch is on its way while another is computed
        ahead = max(2, math.ceil(size / (CHUNK * max(source.workers, 1))))
        on_gpu = self.device.type == "cuda"
        chunks = in_chunks(reader, list(chain.from_iterable(chunks_of)), source.workers, ahead, pinned=on_gpu)
        for batch, own in zip(batches, chunks_of):
            pixels = torch.cat([chunk.to(self.device, non_blocking=on_gpu) for chunk in islice(chunks, len(own))])
            yield scale(pixels.permute(0, 3, 1, 2)), self._labels[order[batch.start : batch.stop]]
