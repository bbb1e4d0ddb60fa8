"""From what a script was told to data it can use: checked first, read second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset import catalog, sources, split, split_file, tree
from dataset.images import Augment, Images, ImageSet
from dataset.locate import find_root
from dataset.reading import open_image
from dataset.scenario import Scenario
from dataset.stream import OnDisk, StreamedSet, Zoom
from utils.errors import UsageError


@dataclass(frozen=True)
class DatasetInfo:
    """A data set before anything of it is read.

    Attributes:
        official: training images per class, validation part included.
        files: its image files, if it is stored so.
        typed: the folder that was named, of which ``root`` is part or which is part of it; None if ``root`` itself was,
            or none.
        given: what ``--split`` names; None for the default.
    """

    source: catalog.Source
    root: Path
    size: int | None
    official: list[int]
    files: tree.Listing | None = field(repr=False)
    typed: Path | None = None
    given: split_file.GivenSplit | None = None

    @property
    def _given_sets(self) -> Mapping[str, np.ndarray]:
        """Index arrays by name, if a file or a scheme without labels divides the data set."""
        return {} if self.given is None else self.given.sets

    @property
    def classes(self) -> int:
        return len(self.official)

    @property
    def side(self) -> int:
        """Side in pixels at which the images will be read; for files in memory, that of the first image."""
        if self.size is None and self.files is not None and not self.source.streamed:
            return open_image(self.files.train[0][0]).height
        side = self.size or self.source.size
        assert side is not None, "a source without files has a size"
        return side

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in order of their numbers."""
        return self.source.classes or () if self.files is None else self.files.classes

    @property
    def train_counts(self) -> list[int]:
        """Training images per class, validation part taken off; of a split that is given no more than these."""
        if self._given_sets and self.files is not None:
            return np.bincount(self.files.train[1][self._given_sets["train"]], minlength=self.classes).tolist()
        own = self.files is not None and self.files.val is not None
        return split.train_counts(self.official, self.source.with_validation and not own)

    @property
    def train_total(self) -> int:
        """Training images in all, validation part taken off."""
        return len(self._given_sets["train"]) if self._given_sets else sum(self.train_counts)

    @property
    def val_total(self) -> int:
        """Training images that validate."""
        given = self._given_sets
        return len(given.get("val", ())) if given else sum(self.official) - self.train_total

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a run's numbers of the data set itself and of its split, as plain data."""
        return {"official_counts": self.official} | ({} if self.given is None else {"split": self.given.identity})

    @property
    def notes(self) -> dict[str, str]:
        """What a header says beside numbers, by keyword: where files are, what serves for what, what is not read."""
        found = {} if self.typed is None else {"found": f"in {self.root}, for --data {self.typed}"}
        if self.given is not None:
            left_out = self.given.left_out(sum(self.official))
            said = f"; left out: {left_out:,} training images, in none of its sets" if left_out else ""
            found |= {"split from": f"{self.given.typed}{said}"}
        return found | ({} if self.files is None else self.files.notes)

    @property
    def validates(self) -> bool:
        """Whether there are validation images, taken off the training images or the data set's own."""
        return self.val_total > 0 or (self.files is not None and self.files.val is not None)

    def load(self) -> sources.Dataset:
        """The data set; see ``sources.load``."""
        return replace(sources.load(self.source, self.root, self.size, self.files), notes=self.notes, given=self.given)

    def resolve(self, scenario: Scenario) -> Scenario:
        """``scenario`` in numbers, checked: classes by their names, images by their files, masks by their length.

        A split that says what is forgotten takes the place of a scenario that nobody typed.
        Raises UsageError: no such class or image, or an impossible count.
        """
        if scenario.implied and self.given is not None and self.given.forget is not None:
            return Scenario(None, None, self.given.forget, f"--split {self.given.typed}")
        paths = None if self.files is None else self.files.train[0]
        fitted = scenario.named(self.names).placed(sum(self.official), paths)
        return fitted.resolve(self.train_counts, self.train_total)


def find(name: str, root: str | None, size: int | None, stream: bool = False, given: str | None = None) -> DatasetInfo:
    """Find a data set and count its classes and training images.

    Args:
        stream: leave its images on disk.
        given: the value of ``--split``.
    Raises:
        UsageError: an unknown name, one that cannot be streamed, no such folder tree, or a file that is no split of it.
    """
    source = catalog.get(name, stream)
    typed = None if root is None else Path(root).expanduser()
    place = find_root(source, typed)
    if source.told is not None:
        source = source.told(source, place)
    files, size = source.files(place), size or (source.size if source.resized else None)
    official = list(source.official or () if files is None else files.counts)
    elsewhere = typed if typed is not None and place != typed else None
    return DatasetInfo(source, place, size, official, files, elsewhere, split_file.read_split(given, sum(official)))


def base_split(data: sources.Dataset, seed: int, split_seed: int | None, compat: str) -> split.BaseSplit:
    """What a model is trained on: by ``--split``, or by seeds without it.

    Raises UsageError: an unknown scheme, or ``--split_seed`` beside a split that it has no part in.
    """
    given = data.given
    if given is not None and given.sets:
        if split_seed is not None:
            raise UsageError(f"--split {given.typed} and --split_seed {split_seed} both say who validates; give one")
        return given.base(len(data.test_labels))
    name, _, argument = ("seeds" if given is None else given.typed).partition(":")
    draw = split.Draw(argument, data.train_labels, data.test_labels, data.with_validation, seed, split_seed, compat)
    divide = split.SCHEMES.get(name).divide
    assert divide is not None, "a scheme without it has sets"
    return divide(draw)


class Views:
    """Image sets of one data set. Images in memory are put on the device once, streamed ones batch by batch.

    Args:
        device: where batches, labels and indices are.
        workers: processes that read streamed images.
        compat: "reference" resizes streamed images to a square before the central crop, whatever their shape, and
            mirrors what is mirrored under it alone.
    """

    def __init__(self, data: sources.Dataset, device: torch.device, workers: int = 0, compat: str = "fixed"):
        def place(images: np.ndarray, labels: np.ndarray) -> tuple[Any, torch.Tensor]:
            where = torch.from_numpy(labels).to(device)
            if data.streamed is None:
                return torch.from_numpy(images).to(device).permute(0, 3, 1, 2), where
            return OnDisk(images, data.streamed, compat == "reference", workers), where

        self._train, self._test = place(data.train_images, data.train_labels), place(data.test_images, data.test_labels)
        self._val = self._test if data.val is None else place(*data.val)
        self._kind = ImageSet if data.streamed is None else StreamedSet
        flip = data.flip in (True, compat)
        in_memory = Augment(data.pad, flip) if data.pad or flip else None
        self._augment = in_memory if data.streamed is None else Zoom(flip)

    def train(self, indices: np.ndarray) -> Images:
        """Training images, augmented when they are shuffled."""
        return self._kind(*self._train, indices, self._augment)

    def test(self, indices: np.ndarray | None = None) -> Images:
        """Test images; all without indices."""
        return self._kind(*self._test, indices)

    def val(self, indices: np.ndarray | None) -> Images:
        """Validation images: part of the training set, or for None the data set's own, or else its whole test set.

        The former can be augmented, because ``--compat reference`` does so.
        """
        return self._kind(*self._val) if indices is None else self.train(indices)

    def divided(self, by: split.Split) -> dict[str, Images]:
        """The sets of an unlearning: "retain", "forget", "val" and "test"."""
        return {
            "retain": self.train(by.retain),
            "forget": self.train(by.forget),
            "val": self.val(by.val),
            "test": self.test(by.test),
        }
