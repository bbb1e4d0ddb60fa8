"""Sets of images: what they have in common, and those in memory, batched without a Python loop over images."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from utils import seeds
from utils.device import moved

if TYPE_CHECKING:
    from typing_extensions import Self

Part = Callable[[int], slice]  # maps the number of images in a batch to the slice of them that this process takes


@dataclass(frozen=True)
class Augment:
    """Random crop after zero-padding by ``pad`` pixels, then a horizontal flip with probability 1/2."""

    pad: int = 4
    flip: bool = True


class Images(ABC):
    """Some images of a data set, in a fixed order: the only form in which training, unlearning and scoring see data.

    ``ImageSet`` keeps its images on the device, ``stream.StreamedSet`` on disk. Methods that return a set leave this
    one unchanged.

    Args:
        source: the images themselves; several sets can share one source.
        labels: labels of all images of the source, int64 [N], on the device where batches go.
        indices: which of the N images belong to this set, int64 [M]; None for all.
        augment: how ``batches`` augments shuffled images; None for not at all.
    Attributes:
        shuffle: False keeps the set's order, whatever seed ``batches`` is given (``in_order``).
    """

    shuffle = True

    def __init__(self, source: Any, labels: Tensor, indices: np.ndarray | Tensor | None = None, augment: Any = None):
        self.source, self._labels, self.augment = source, labels, augment
        if indices is None:
            indices = torch.arange(len(labels))
        self.indices = torch.as_tensor(indices, dtype=torch.int64).to(labels.device)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def device(self) -> torch.device:
        """Where batches, ``labels`` and ``indices`` are."""
        return self._labels.device

    @property
    def labels(self) -> Tensor:
        """Classes, int64 [M]; the true ones unless the set was relabelled."""
        return self._labels[self.indices]

    def relabelled(self, labels: Tensor) -> Self:
        """This set with other labels, int64 [M] in this set's order."""
        all_labels = self._labels.clone()
        all_labels[self.indices] = labels.to(all_labels)
        return self._copy(_labels=all_labels)

    def first(self, count: int, order: Tensor | None = None) -> Self:
        """At most ``count`` images of this set: the first ones, in its own order or in ``order``, int64 [M]."""
        first = self.indices[:count] if order is None else self.indices[order[:count].to(self.device)]
        return self._copy(indices=first)

    def plain(self) -> Self:
        """This set without augmentation."""
        return self._copy(augment=None)

    def flips_alone(self) -> Self:
        """This set with flips as its only augmentation, or with none if it has no flips."""
        flips = isinstance(self.augment, Augment) and self.augment.flip
        return self._copy(augment=Augment(0, True) if flips else None)

    def at(self, indices: np.ndarray | Tensor) -> Self:
        """A set of other images of the same source, ``indices`` int64 [K], without augmentation."""
        return self._copy(indices=torch.as_tensor(indices, dtype=torch.int64).to(self.device), augment=None)

    def in_order(self) -> Self:
        """This set without shuffling and augmentation, whatever seed ``batches`` is given."""
        return self._copy(augment=None, shuffle=False)

    def of_classes(self, labels: Tensor) -> Self:
        """The images whose class is among ``labels``, int64 [K], without augmentation; all images if none is."""
        chosen = self.indices[torch.isin(self.labels, labels)]
        return self.at(chosen) if len(chosen) else self.plain()

    def _copy(self, **attributes: Any) -> Self:
        changed = copy.copy(self)
        vars(changed).update(attributes)
        return changed

    def sizes(self, size: int) -> list[int]:
        """How many images each of the batches of ``size`` holds; the last may be smaller."""
        return [len(span) for span in spans(len(self), size)]

    def _spans(self, size: int, part: Part | None) -> list[range]:
        """For each batch the positions of its images, or of ``part`` of them, in the epoch's order."""
        return [span if part is None else span[part(len(span))] for span in spans(len(self), size)]

    def batches(self, size: int, seed: int | None = None, part: Part | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Float images in [0, 1], [B, C, H, W], with their labels, int64 [B].

        Args:
            size: images per batch; the last batch may be smaller.
            seed: fixes order and augmentation; None keeps the set's order and augments nothing.
            part: maps the number of images in a batch to the slice of them that is wanted; None for all.
        """
        order = self.indices
        if not self.shuffle:
            seed = None
        if seed is not None:
            order = order[moved(torch.randperm(len(order), generator=seeds.generator(seed, "order")), order.device)]
        return self._read(order, size, seed, part)

    def augmented_in_order(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Like ``batches`` but in the set's own order, with augmentation drawn from ``seed``."""
        return self._read(self.indices, size, seed)

    @property
    @abstractmethod
    def pixels(self) -> int:
        """Pixels of one image."""

    @abstractmethod
    def _read(
        self, order: Tensor, size: int, seed: int | None, part: Part | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the images ``order``, int64 [M], or ``part`` of each batch.

        Augmentation depends on ``seed`` and an image's position; None augments nothing.
        """


def spans(count: int, size: int) -> list[range]:
    """``range(count)`` in pieces of ``size``, the last one shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


class ImageSet(Images):
    """Images in memory.

    Args:
        source: [N, C, H, W] on the labels' device, best in channels-last layout: uint8, which batches scale to [0, 1],
            or float32, which the model gets unchanged.
        labels, indices: those of ``Images``.
        augment: an ``Augment`` for shuffled images; None for no augmentation.
    """

    @property
    def images(self) -> Tensor:
        """All images of the source, uint8 or float32 [N, C, H, W]."""
        return self.source

    @property
    def pixels(self) -> int:
        return self.source.shape[2] * self.source.shape[3]

    def _read(
        self, order: Tensor, size: int, seed: int | None, part: Part | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        labels, read = self._labels[order], self._reader(order, seed)
        for span in self._spans(size, part):
            places = slice(span.start, span.stop)
            yield scale(read(places)), labels[places]

    def _reader(self, order: Tensor, seed: int | None) -> Callable[[slice], Tensor]:
        """A function from positions in ``order`` to their images, augmented for one pass over the set."""
        if seed is None or self.augment is None:
            return lambda places: gather(self.images, order[places])
        random, pad = seeds.generator(seed, "augmentation"), self.augment.pad
        shifts = torch.randint(0, 2 * pad + 1, (len(self), 2), generator=random)
        flips = torch.rand(len(self), generator=random) < (0.5 if self.augment.flip else 0.0)
        if self.device.type == "cpu":
            return lambda places: crop_and_flip(self.images, shifts[places], flips[places], pad, order[places])
        crops = Crops.of(moved(shifts, self.device), moved(flips, self.device), pad, *self.images.shape[2:])
        return lambda places: crops.gather(self.images, order[places], places)


def scale(images: Tensor) -> Tensor:
    """uint8 in [0, 255] to float32 in [0, 1], in the same layout; images of other types are returned unchanged."""
    if images.dtype != torch.uint8:
        return images
    # On a GPU one kernel saves a launch. On the CPU both steps are vectorised, but a single one would not be.
    return images.to(torch.float32).div_(255) if images.device.type == "cpu" else images / 255


def gather(images: Tensor, order: Tensor) -> Tensor:
    """``images[order]`` in the same layout: [B, C, H, W]; images that are contiguous are copied as a whole."""
    for axes, back in (((0, 2, 3, 1), (0, 3, 1, 2)), ((0, 1, 2, 3), (0, 1, 2, 3))):
        source = images.permute(axes)
        if source.is_contiguous():
            return source.flatten(1).index_select(0, order).view(len(order), *source.shape[1:]).permute(back)
    return images[order]


def crop_and_flip(images: Tensor, shifts: Tensor, flips: Tensor, pad: int, picked: Tensor | None = None) -> Tensor:
    """Crop every image at its own offset after zero-padding, then mirror the marked ones.

    Args:
        images: [N, C, H, W], any dtype.
        shifts: row and column of the crop's corner in the padded image, from 0 to 2 * pad, int64 [B, 2] on the CPU.
        flips: which crops to mirror, bool [B] on the CPU.
        pad: zeros on each side, in pixels.
        picked: which images to crop, int64 [B] on their device; None for all, in order.
    Returns:
        [B, C, H, W] in channels-last layout.
    """
    count, (channels, height, width) = len(flips), images.shape[1:]
    order = torch.argsort(flips.to(torch.uint8), stable=True)  # on the CPU, so that no device is waited for
    plain = count - int(flips.sum())
    sorted_in = moved(order, images.device) if picked is None else picked[moved(order, images.device)]
    padded = images.new_zeros(count, height + 2 * pad, width + 2 * pad, channels)
    inner, pixels = padded[:, pad : pad + height, pad : pad + width], gather(images, sorted_in).permute(0, 2, 3, 1)
    inner[:plain], inner[plain:] = pixels[:plain], pixels[plain:].flip(2)
    place, row = torch.argsort(order), torch.arange(height)
    top, left = shifts[:, :1], torch.where(flips, 2 * pad - shifts[:, 1], shifts[:, 1])[:, None]
    starts = ((place[:, None] * padded.shape[1] + top + row) * padded.shape[2] + left) * channels
    line = width * channels
    # every stretch of a line's length, wherever it starts, so that lines are copied whole
    lines = padded.as_strided((max(padded.numel() - line + 1, 0), line), (1, 1))
    return (
        lines.index_select(0, moved(starts.flatten(), images.device))
        .view(count, height, width, channels)
        .permute(0, 3, 1, 2)
    )


@dataclass(frozen=True)
class Crops:
    """Source positions of the pixels of cropped and flipped images, for a whole epoch, on the images' device.

    ``crop_and_flip`` sorts images and copies lines, which is fast on a CPU. On a GPU launching its twenty small steps
    takes longer than computing them. Here a batch takes one gather and two steps that black out the border, with the
    same result.

    Attributes:
        rows, columns: row and column of every pixel in its source image, int64 [M, H, 1] and [M, 1, W]; for pixels of
            the border those of the nearest pixel of the image.
        rows_inside, columns_inside: whether a pixel lies in the image and not in the border, bool of these shapes.
    """

    rows: Tensor
    columns: Tensor
    rows_inside: Tensor
    columns_inside: Tensor

    @classmethod
    def of(cls, shifts: Tensor, flips: Tensor, pad: int, height: int, width: int) -> Crops:
        """The positions for images of ``height`` x ``width`` pixels.

        Args:
            shifts, flips, pad: those of ``crop_and_flip``, but on the images' device.
        """
        across = torch.arange(width, device=shifts.device)
        rows = shifts[:, :1] - pad + torch.arange(height, device=shifts.device)
        columns = shifts[:, 1:] - pad + torch.where(flips[:, None], across.flip(0), across)
        rows_inside, columns_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        return cls(rows[:, :, None], columns[:, None], rows_inside[:, :, None], columns_inside[:, None])

    def gather(self, images: Tensor, picked: Tensor, entries: slice) -> Tensor:
        """Cropped and flipped images, [B, C, H, W] in channels-last layout.

        Args:
            images: [N, C, H, W].
            picked: which images, int64 [B].
            entries: which of the M crops to use for them, in the same order.
        """
        cropped = images.permute(0, 2, 3, 1)[picked[:, None, None], self.rows[entries], self.columns[entries]]
        inside = self.rows_inside[entries] & self.columns_inside[entries]
        return cropped.mul_(inside[..., None]).permute(0, 3, 1, 2)
