"""Several image sets in one training: as one set, one after the other, or without end."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dataset.images import Images, Part
from utils import parallel, seeds

if TYPE_CHECKING:
    from typing_extensions import Self


class Chain:
    """Image sets to train on one after the other: every epoch passes over the first set, then over the next.

    No batch holds images of two sets.

    Args:
        sets: at least one, all on one device.
    """

    def __init__(self, *sets: Images):
        self._sets = sets

    def __len__(self) -> int:
        return sum(map(len, self._sets))

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self._sets[0].device

    def plain(self) -> Self:
        """A chain of the sets without augmentation."""
        views = copy.copy(self)
        views._sets = tuple(images.plain() for images in self._sets)
        return views

    def sizes(self, size: int) -> list[int]:
        """How many images each batch holds; the last one of each set may be smaller."""
        return [number for images in self._sets for number in images.sizes(size)]

    def batches(self, size: int, seed: int, part: Part | None = None) -> Iterator[tuple[Any, Any]]:
        """Batches of the first set, then of the next; see ``Images.batches``."""
        for number, images in enumerate(self._sets):
            yield from images.batches(size, seeds.derive(seed, "set", number), part)


def union(first: Images, second: Images) -> Images:
    """Join two sets into one, the first's images first, augmented and shuffled like the second.

    Images are copied only if the sets have different sources.

    Args:
        first, second: sets on one device that have no image in common.
    """
    source, labels, offset = second.source, second._labels, 0
    if first.source is not second.source:
        source, labels = torch.cat([first.source, source]), torch.cat([first._labels, labels])
        offset = len(first.source)
    both = second._copy(source=source, _labels=labels, indices=torch.cat([first.indices, second.indices + offset]))
    return both.relabelled(torch.cat([first.labels, second.labels]))


def endless(images: Images, size: int, seed: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Batches of endless passes over a set, each pass in an order of its own.

    Args:
        size: images per batch of all processes together.
        seed: fixes all orders and augmentations.
        start: number of batches to skip at the beginning.
    Yields:
        This process's images, float [B, C, H, W], and labels, int64 [B], and the number of images of the whole batch.
    """
    sizes = images.sizes(size)
    for number in count(start // len(sizes)):
        skipped = max(start - number * len(sizes), 0)
        batches = zip(images.batches(size, seeds.derive(seed, "pass", number), parallel.part), sizes)
        for (batch, labels), total in islice(batches, skipped, None):
            yield batch, labels, total
