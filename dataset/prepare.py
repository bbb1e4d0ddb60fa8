"""From what a script was told to data it can use: checked first, read second."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dataset import sources, split
from dataset.images import Augment, ImageSet

REFERENCE_BASE_SEED = 1  # the reference trains on this split whatever its flags say


@dataclass(frozen=True)
class Chosen:
    """A data set before anything of it is read.

    Attributes:
        official: training images per class, validation part included.
    """

    source: sources.Source
    root: Path
    size: int | None
    official: list[int]

    @property
    def classes(self) -> int:
        return len(self.official)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in order of their numbers."""
        return sources.class_names(self.source, self.root)

    @property
    def train_counts(self) -> list[int]:
        """Training images per class, validation part taken off."""
        return split.train_counts(self.official, self.source.with_validation)


def choose(name: str, root: str | None, size: int | None) -> Chosen:
    """Find a data set and count its classes and training images.

    Raises:
        UsageError: an unknown name, or no such folder tree.
    """
    source = sources.get(name)
    place = sources.find_root(source, None if root is None else Path(root))
    return Chosen(source, place, size, sources.official_counts(source, place))


def base_split(data: sources.Dataset, seed: int, split_seed: int | None, compat: str) -> split.BaseSplit:
    """What a model is trained on: by ``--split_seed``, or ``--seed`` without it; always split 1 in ``--compat reference``."""
    chosen = REFERENCE_BASE_SEED if compat == "reference" and split_seed is None else split_seed
    return split.split_base(data.train_labels, seed if chosen is None else chosen, data.with_validation)


def marked_split(data: sources.Dataset, seed: int, base: split.BaseSplit, compat: str) -> split.BaseSplit:
    """Where forget and retain images come from: the base split; in ``--compat reference`` that of ``--seed``."""
    return base if compat == "fixed" else split.split_base(data.train_labels, seed, data.with_validation)


class Views:
    """Image sets of one data set, whose tensors are on the device once.

    Args:
        data: in memory.
        device: where the images go.
    """

    def __init__(self, data: sources.Dataset, device: torch.device):
        self._parts = {
            part: (torch.from_numpy(images).to(device).permute(0, 3, 1, 2), torch.from_numpy(labels).to(device))
            for part, images, labels in (
                ("train", data.train_images, data.train_labels),
                ("test", data.test_images, data.test_labels),
            )
        }
        self._augment = Augment(data.pad, data.flip) if data.pad else None

    def train(self, indices: np.ndarray) -> ImageSet:
        """Training images, augmented when they are shuffled."""
        return ImageSet(*self._parts["train"], indices, self._augment)

    def test(self, indices: np.ndarray | None = None) -> ImageSet:
        """Test images; all without indices."""
        return ImageSet(*self._parts["test"], indices)

    def val(self, indices: np.ndarray | None) -> ImageSet:
        """Validation images: part of the training set, or the whole test set for None.

        They can be augmented, because ``--compat reference`` does so.
        """
        images = self.test() if indices is None else self.train(indices)
        return ImageSet(images.images, images._labels, images.indices, self._augment)
