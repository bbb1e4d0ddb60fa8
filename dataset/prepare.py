"""From the flags of a script to the data that they name: everything is checked before images are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset import catalog, sources, split, split_file, tree
from dataset import superclasses as superclasses_of
from dataset.images import Augment, Images, ImageSet
from dataset.locate import find_root
from dataset.reading import open_image
from dataset.scenario import Scenario
from dataset.stream import OnDisk, StreamedSet, Zoom
from dataset.superclasses import Superclasses
from utils.errors import UsageError


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before its images are read.

    Attributes:
        source: its entry in the catalogue.
        root: the folder that it is read from.
        size: side in pixels to which images are resized; None for their own.
        official: training images per class, or per subclass if there are superclasses, validation part included.
        files: its image files; None if it is not stored as image files.
        typed: the folder that ``--data`` names, above or below ``root``; None if it is ``root`` or was not typed.
        given: what ``--split`` names; None for the default.
        superclasses: the classes that the model learns instead of the data set's own; None if it learns these.
    """

    source: catalog.Source
    root: Path
    size: int | None
    official: list[int]
    files: tree.Listing | None = field(repr=False)
    typed: Path | None = None
    given: split_file.GivenSplit | None = None
    superclasses: Superclasses | None = None

    @property
    def _given_sets(self) -> Mapping[str, np.ndarray]:
        """Index arrays by name, if a file or a scheme that needs no labels divides the data set; else empty."""
        return {} if self.given is None else self.given.sets

    @property
    def classes(self) -> int:
        return len(self.official if self.superclasses is None else self.superclasses.names)

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
        return self._own_names if self.superclasses is None else self.superclasses.names

    @property
    def _own_names(self) -> tuple[str, ...]:
        """Names of the data set's own classes, which are subclasses if there are superclasses.

        They are numbers if only reading the data set would tell its names.
        """
        if self.files is not None:
            return self.files.classes
        return self.source.classes or tuple(map(str, range(len(self.official))))

    @property
    def train_counts(self) -> list[int]:
        """Training images per class, without the validation part.

        Unless they are ``counted``, these are the most that there can be.
        """
        return self._own_counts if self.superclasses is None else self.superclasses.summed(self._own_counts)

    @property
    def _own_counts(self) -> list[int]:
        if self._given_sets and self.files is not None:
            return np.bincount(self.files.train[1][self._given_sets["train"]], minlength=len(self.official)).tolist()
        validates = self.counted and self.source.with_validation and not self._has_own_val
        return split.train_counts(self.official, validates)

    @property
    def counted(self) -> bool:
        """Whether class counts are known; of a given split of a data set without image files only the labels tell."""
        return not self._given_sets or self.files is not None

    @property
    def train_total(self) -> int:
        """Number of training images, without the validation part."""
        return len(self._given_sets["train"]) if self._given_sets else sum(self.train_counts)

    @property
    def val_total(self) -> int:
        """Number of training images that are set apart for validation."""
        given = self._given_sets
        return len(given.get("val", ())) if given else sum(self.official) - self.train_total

    @property
    def identity(self) -> dict[str, Any]:
        """The facts of the data set and its split that decide a run's numbers, as plain data."""
        facts: dict[str, Any] = {"official_counts": self.official}
        if self.superclasses is not None:
            facts["official_counts"] = self.superclasses.summed(self.official)
            facts["superclasses"] = {"names": self.superclasses.names, "subclasses": self._superclass_of}
        return facts | ({} if self.given is None else {"split": self.given.identity})

    @property
    def _superclass_of(self) -> dict[str, str]:
        """The superclass of each subclass, by name."""
        if self.superclasses is None:
            return {}
        names = self.superclasses.names
        return {name: names[number] for name, number in zip(self._own_names, self.superclasses.superclass_of)}

    def names_for(self, scenario: Scenario) -> list[str]:
        """Names of the classes, or of the subclasses if the scenario names these, in order of their numbers."""
        if not scenario.subclass:
            return list(self.names)
        return [f"{name} in {superclass}" for name, superclass in self._superclass_of.items()]

    def counts_for(self, scenario: Scenario) -> list[int]:
        """Training images per class, or per subclass if the scenario names these."""
        return self._own_counts if scenario.subclass else self.train_counts

    def takes_all(self, scenario: Scenario) -> bool | None:
        """Whether every image of the scenario's classes is forgotten; None if only reading labels would tell."""
        return scenario.takes_all(self.counts_for(scenario) if self.counted else None)

    @property
    def notes(self) -> dict[str, str]:
        """Remarks for a header, by keyword: where files are, which folders serve as which sets, what is not read."""
        notes = {} if self.typed is None else {"found": f"in {self.root}, for --data {self.typed}"}
        if self.given is not None:
            left_out = self.given.left_out(sum(self.official))
            remark = f"; left out: {left_out:,} training images, in none of its sets" if left_out else ""
            notes |= {"split from": f"{self.given.typed}{remark}"}
        return notes | ({} if self.files is None else self.files.notes)

    @property
    def validates(self) -> bool:
        """Whether there are validation images, either a part of the training images or the data set's own."""
        return self.val_total > 0 or self._has_own_val

    @property
    def _has_own_val(self) -> bool:
        return self.files is not None and self.files.val is not None

    def load(self) -> sources.Dataset:
        """Read the data set, see ``sources.load``; with superclasses, notes and the given split added."""
        data = sources.load(self.source, self.root, self.size, self.files)
        data = data if self.superclasses is None else data.by_superclass(self.superclasses)
        return replace(data, notes=self.notes, given=self.given)

    def resolve(self, scenario: Scenario) -> Scenario:
        """``scenario`` with class names, image files and fractions replaced by numbers, and checked.

        If the scenario is only the default and the given split says what is forgotten, the split's forget set is used.

        Raises:
            UsageError: no such class or image, or an impossible count.
        """
        if scenario.implied and self.given is not None and self.given.forget is not None:
            return Scenario(None, None, self.given.forget, f"--split {self.given.typed}")
        if scenario.subclass and self.superclasses is None:
            reason = f"{self.source.name} has no subclasses; --superclasses says which superclass each class belongs to"
            raise UsageError(f"{scenario.typed}: {reason}")
        paths = None if self.files is None else self.files.train[0]
        known = self._own_names if scenario.subclass else self.names
        numbered = scenario.named(known).placed(sum(self.official), paths)
        uncounted = numbered.labels is not None and not self.counted
        if uncounted and isinstance(numbered.count, float):
            reason = "a fraction of a class needs its number of training images, which"
            raise UsageError(f"{numbered.typed}: {reason} --split leaves open until labels are read; give a number")
        return numbered.resolve(self.counts_for(scenario), None if uncounted else self.train_total)


def find(
    name: str,
    root: str | None,
    size: int | None,
    stream: bool = False,
    given: str | None = None,
    superclasses: str | None = None,
) -> DatasetInfo:
    """Find a data set and count its classes and training images.

    Args:
        name: name of the data set.
        root: the value of ``--data``; None tries the usual places.
        size: side in pixels to which images are resized; None for the data set's own.
        stream: leave its images on disk.
        given, superclasses: the values of ``--split`` and ``--superclasses``.
    Raises:
        UsageError: an unknown name, a data set that cannot be streamed, no such folder tree, or a file that is no valid
            split or does not fit the classes.
    """
    source = catalog.get(name, stream)
    typed = None if root is None else Path(root).expanduser()
    place = find_root(source, typed)
    if source.completed is not None:
        source = source.completed(source, place)
    files, size = source.files(place), size or (source.size if source.resized else None)
    files, own_superclasses = _superclasses(superclasses, source, place, files)
    official = list(source.official or () if files is None else files.counts)
    given_split = split_file.read_split(given, sum(official))
    elsewhere = None if place == typed else typed
    return DatasetInfo(source, place, size, official, files, elsewhere, given_split, own_superclasses)


def _superclasses(
    typed: str | None, source: catalog.Source, place: Path, files: tree.Listing | None
) -> tuple[tree.Listing | None, Superclasses | None]:
    """The data set's files, sorted by subclass if folders are subclasses, and its superclasses; None without any."""
    if typed is None:
        return files, source.superclasses
    if source.superclasses is not None:
        reason = f"--dataset {source.name} has {len(source.superclasses.names)} superclasses of its own"
        raise UsageError(f"--superclasses {typed}: {reason}; leave --superclasses out")
    if typed != superclasses_of.FOLDERS:
        return files, superclasses_of.read(typed, source.classes or () if files is None else files.classes)
    if files is None:
        reason = "is for trees train/<superclass>/<subclass>/*"
        raise UsageError(f"--superclasses {typed}: {reason}; for --dataset {source.name} give a file")
    return superclasses_of.of_folders(files, place)


def base_split(data: sources.Dataset, seed: int, split_seed: int | None, compat: str) -> split.BaseSplit:
    """The split that a model is trained on: that of ``--split``, or without it the one drawn by seeds.

    Args:
        seed, split_seed, compat: the values of the flags of these names.
    Raises:
        UsageError: an unknown scheme, or ``--split_seed`` together with a split that does not depend on it.
    """
    given = data.given
    if given is not None and given.sets:
        if split_seed is not None:
            raise UsageError(f"--split {given.typed} and --split_seed {split_seed} both say who validates; give one")
        return given.base(len(data.test_labels))
    name, _, argument = ("seeds" if given is None else given.typed).partition(":")
    subclasses = data.subclasses  # they divide the data set, so that superclasses do not change the split
    labels = (data.train_labels, data.test_labels) if subclasses is None else (subclasses.train, subclasses.test)
    draw = split.Draw(argument, *labels, data.with_validation, seed, split_seed, compat)
    divide = split.SCHEMES.get(name).divide
    assert divide is not None, "a scheme without it has sets"
    return divide(draw)


class Views:
    """Image sets of one data set. Images in memory are put on the device once, streamed ones batch by batch.

    Args:
        data: the data set.
        device: where batches, labels and indices are.
        workers: number of processes that read streamed images.
        compat: "reference" resizes streamed images to a square before the central crop, whatever their shape, and
            mirrors images of data sets whose ``flip`` is "reference".
    """

    def __init__(self, data: sources.Dataset, device: torch.device, workers: int = 0, compat: str = "fixed"):
        def place(images: np.ndarray, labels: np.ndarray) -> tuple[Any, torch.Tensor]:
            targets = torch.from_numpy(labels).to(device)
            if data.streamed is None:
                return torch.from_numpy(images).to(device).permute(0, 3, 1, 2), targets
            return OnDisk(images, data.streamed, compat == "reference", workers), targets

        self._train, self._test = place(data.train_images, data.train_labels), place(data.test_images, data.test_labels)
        self._val = self._test if data.val is None else place(*data.val)
        self._kind = ImageSet if data.streamed is None else StreamedSet
        flip = data.flip in (True, compat)
        in_memory = Augment(data.pad, flip) if data.pad or flip else None
        self._augment = in_memory if data.streamed is None else Zoom(flip)

    def train(self, indices: np.ndarray) -> Images:
        """Training images at ``indices``, augmented when they are shuffled."""
        return self._kind(*self._train, indices, self._augment)

    def test(self, indices: np.ndarray | None = None) -> Images:
        """Test images at ``indices``; None for all."""
        return self._kind(*self._test, indices)

    def val(self, indices: np.ndarray | None) -> Images:
        """Validation images: those of the training set at ``indices``, or for None the data set's own.

        A data set without validation images of its own uses its whole test set. Only images of the training set can be
        augmented, since ``--compat reference`` does so.
        """
        return self._kind(*self._val) if indices is None else self.train(indices)

    def divided(self, by: split.Split) -> dict[str, Images]:
        """The sets of an unlearning run: "retain", "forget", "val", "test", and "forget_test" if it has images."""
        sets = {
            "retain": self.train(by.retain),
            "forget": self.train(by.forget),
            "val": self.val(by.val),
            "test": self.test(by.test),
        }
        return sets | ({"forget_test": self.test(by.forget_test)} if len(by.forget_test) else {})
