"""A set of images as a view on tensors that live on the device, batched without per-image Python."""
from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils import seeds


Part = Callable[[int], slice]


@dataclass(frozen=True)
class Augment:
    """Random crop after zero-padding by ``pad`` pixels, then a horizontal flip with probability 1/2."""

    pad: int = 4
    flip: bool = True


class ImageSet:
    """Some images of a data set, in a fixed order.

    Args:
        images: uint8 [N, C, H, W]; shared by all views, best in channels-last layout.
        labels: int64 [N], on the same device.
        indices: int64 [M], which of the N belong to this set.
        augment: what ``batches`` does to shuffled images; None for nothing.
        shuffle: False keeps the set's order, whatever seed ``batches`` is given.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, indices: np.ndarray | Tensor | None = None, augment: Augment | None = None, shuffle: bool = True
    ):
        self.images, self._labels, self.augment, self.shuffle = images, labels, augment, shuffle
        if indices is None:
            indices = torch.arange(len(images))
        self.indices = torch.as_tensor(indices, dtype=torch.int64).to(images.device)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    @property
    def labels(self) -> Tensor:
        """Classes, int64 [M]; the true ones unless the set was relabelled."""
        return self._labels[self.indices]

    def relabelled(self, labels: Tensor) -> "ImageSet":
        """The same images with other labels, int64 [M], in this set's order; the store's own stay as they are."""
        changed = copy.copy(self)
        changed._labels = self._labels.clone()
        changed._labels[self.indices] = labels.to(changed._labels)
        return changed

    def at(self, indices: np.ndarray | Tensor) -> "ImageSet":
        """Other images of the same store, without augmentation."""
        return ImageSet(self.images, self._labels, indices, None, self.shuffle)

    def first(self, count: int) -> "ImageSet":
        """The first ``count`` images, or all if there are fewer."""
        return ImageSet(self.images, self._labels, self.indices[:count], self.augment, self.shuffle)

    def plain(self) -> "ImageSet":
        """The same images without augmentation."""
        return self.at(self.indices)

    def in_order(self) -> "ImageSet":
        """The same images, never shuffled and so never augmented."""
        return ImageSet(self.images, self._labels, self.indices, None, shuffle=False)

    def of_classes(self, labels: Tensor) -> "ImageSet":
        """The images whose class is among ``labels``; all if there are none."""
        found = self.indices[torch.isin(self.labels, labels)]
        return self.at(found) if len(found) else self.plain()

    def joined(self, other: "ImageSet") -> "ImageSet":
        """The images of this set, then those of ``other``, which has none of these, with each set's own labels."""
        if self.images is other.images:
            labels = self._labels.clone()
            labels[other.indices] = other.labels
            return ImageSet(self.images, labels, torch.cat([self.indices, other.indices]), self.augment, self.shuffle)
        stacked, labels = torch.cat([self.images, other.images]), torch.cat([self._labels, other._labels])
        return ImageSet(stacked, labels, torch.cat([self.indices, len(self.images) + other.indices]), self.augment, self.shuffle)

    def batches(self, size: int, seed: int | None = None, part: Part | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Float images in [0, 1], [B, C, H, W], with their labels, int64 [B].

        Args:
            size: images per batch; the last batch may be smaller.
            seed: fixes order and augmentation; None keeps the set's order and augments nothing.
            part: from the number of images in a batch to the slice of them that is wanted; None for all.
        """
        order, shifts, flips = self.indices, None, None
        if seed is not None and self.shuffle:
            random = seeds.generator(seed, "order")
            order = order[torch.randperm(len(order), generator=random).to(order.device)]
            shifts, flips = self._draw(seed)
        yield from self._cut(order, shifts, flips, size, part)

    def augmented_in_order(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Like ``batches`` but in the set's own order, with augmentation drawn from ``seed``."""
        yield from self._cut(self.indices, *self._draw(seed), size)

    def _draw(self, seed: int) -> tuple[Tensor | None, Tensor | None]:
        if self.augment is None:
            return None, None
        random = seeds.generator(seed, "augmentation")
        shifts = torch.randint(0, 2 * self.augment.pad + 1, (len(self), 2), generator=random)
        flips = torch.rand(len(self), generator=random) < (0.5 if self.augment.flip else 0.0)
        return shifts.to(self.images.device), flips.to(self.images.device)

    def _cut(
        self, order: Tensor, shifts: Tensor | None, flips: Tensor | None, size: int, part: Part | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(order), size):
            stop = min(start + size, len(order))
            mine = slice(0, stop - start) if part is None else part(stop - start)
            wanted = slice(start + mine.start, start + mine.stop)
            images = self.images[order[wanted]]
            if shifts is not None and flips is not None:
                images = crop_and_flip(images, shifts[wanted], flips[wanted], self.augment.pad)
            yield scale(images), self._labels[order[wanted]]


def scale(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float32 [0, 1], contiguous.

    On the CPU batch norm's statistics lose three digits in channels-last layout.
    """
    return images.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def crop_and_flip(images: Tensor, shifts: Tensor, flips: Tensor, pad: int) -> Tensor:
    """Move every image by its own offset over a zero border, then mirror the marked ones.

    Args:
        images: [B, C, H, W], any dtype.
        shifts: int64 [B, 2], top and left corner of the crop in the padded image, 0 to 2 * pad.
        flips: bool [B].
    Returns:
        [B, C, H, W] in channels-last layout, in one gather.
    """
    count, channels, height, width = images.shape
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, pad, pad, pad, pad))
    rows = shifts[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = shifts[:, 1:] + torch.where(flips[:, None], width - 1 - columns, columns)
    sample = torch.arange(count, device=images.device)[:, None, None]
    position = (sample * padded.shape[1] + rows[:, :, None]) * padded.shape[2] + columns[:, None, :]
    cropped = padded.reshape(-1, channels).index_select(0, position.flatten())
    return cropped.view(count, height, width, channels).permute(0, 3, 1, 2)
