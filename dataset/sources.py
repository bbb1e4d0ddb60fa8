"""A data set with its labels in memory, and its images in memory or on disk."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataset import tree
from dataset.catalog import Source
from dataset.reading import decode
from dataset.superclasses import Subclasses, Superclasses
from utils import cache
from utils.errors import UsageError

if TYPE_CHECKING:
    from dataset.catalog import Arrays
    from dataset.scenario import Scenario
    from dataset.split_file import GivenSplit


@dataclass(frozen=True)
class Dataset:
    """A data set with its labels in memory, and its images in memory or on disk.

    Attributes:
        name: name of the data set.
        classes: names of the classes, in order of their numbers.
        train_images, test_images: uint8 [N, H, W, C], or float32 for latents; for a streamed set paths, bytes [N].
        train_labels, test_labels: int64 [N].
        mean, std: statistics by channel, for images in [0, 1].
        pad, flip: augmentation, at the size of these images; see ``catalog.Source``.
        with_validation: whether a tenth of the training images is to be set apart for validation.
        val: the data set's own validation images and labels, like those above; None if it has none.
        streamed: side in pixels at which images are read from disk whenever they are needed; None for images in memory.
        notes: remarks on the files for a header, by keyword.
        given: what ``--split`` names; None for the default split by seeds.
        subclasses: the subclass of every image if ``classes`` are superclasses; else None.
    """

    name: str
    classes: tuple[str, ...]
    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad: int
    flip: bool | str
    with_validation: bool
    val: Arrays | None = field(default=None, repr=False)
    streamed: int | None = None
    notes: dict[str, str] = field(default_factory=dict, compare=False)
    given: GivenSplit | None = field(default=None, repr=False)
    subclasses: Subclasses | None = field(default=None, repr=False)

    def by_superclass(self, superclasses: Superclasses) -> Dataset:
        """This data set with superclasses as its classes, and its present classes as subclasses."""
        train, test, val = self.train_labels, self.test_labels, self.val
        return replace(
            self,
            classes=superclasses.names,
            train_labels=superclasses.labels(train),
            test_labels=superclasses.labels(test),
            val=None if val is None else (val[0], superclasses.labels(val[1])),
            subclasses=Subclasses(self.classes, train, test, superclasses.superclass_of),
        )

    def labels_for(self, scenario: Scenario) -> np.ndarray:
        """Labels of the training images, int64 [N]: subclasses if the scenario names these, else classes."""
        return self.subclasses.train if scenario.subclass and self.subclasses else self.train_labels

    @property
    def digest(self) -> str:
        """16 hex digits over training and test images and labels, without the data set's own validation images.

        Streamed images are represented by the last two parts of their paths.
        """
        state = hashlib.sha256()
        for images, labels in ((self.train_images, self.train_labels), (self.test_images, self.test_labels)):
            if self.streamed is not None:
                images = np.array([b"/".join(path.split(b"/")[-2:]) for path in images.tolist()])
            for array in (np.asarray(labels, "<i8"), images):
                state.update(f"{array.shape} {array.dtype.str};".encode())
                state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()[:16]

    @property
    def words(self) -> str:
        """The images' size, and whether they are read from disk, for the header."""
        if self.streamed is not None:
            return f"{self.streamed}x{self.streamed} pixels, read from disk as needed"
        return f"{self.train_images.shape[1]}x{self.train_images.shape[2]} pixels"


def load(source: Source, root: Path, size: int | None = None, files: tree.Listing | None = None) -> Dataset:
    """Read a data set, into memory unless it is streamed; download it first if it is absent and can be.

    Args:
        source: its entry in the catalogue.
        root: folder of the data set; not read if it is embedded.
        size: side in pixels to resize to; None keeps the data set's own.
        files: the result of ``source.files``; None lists the files here.
    Raises:
        UsageError: missing, damaged or unequal images.
    """
    files = files or source.files(root)
    return cache.get_or_make(_state_of(source, root, size, files), lambda: _read(source, root, size, files))


def _state_of(source: Source, root: Path, size: int | None, files: tree.Listing | None) -> tuple:
    """Key under which a data set is cached: it changes with the names of the files and the folders' change times."""
    if source.embedded:
        return source.name, size, source.streamed
    if files is None:
        watched, names = sorted(root.glob("*")), b""
    else:
        paths = [path for part in (files.train, files.test, files.val) if part is not None for path in part[0].tolist()]
        watched = [Path(os.fsdecode(folder)) for folder in sorted({os.path.dirname(path) for path in paths})]
        names = b"\0".join(paths)
    changed = [(str(path), path.stat().st_mtime_ns) for path in watched]
    return source.name, str(root.resolve()), size, source.streamed, hashlib.sha256(names).digest(), *changed


def _read(source: Source, root: Path, size: int | None, files: tree.Listing | None) -> Dataset:
    val: Arrays | None = None
    if files is not None:
        train, test, val = (files.train, files.test, files.val) if source.streamed else _decode(files, root, size)
        classes = files.classes
    else:
        assert source.read is not None, "a source without files is read"
        train, test, classes = source.read(root, size)
    side = (size or source.size or 0) if source.streamed else train[0].shape[1]
    mean, std = (source.mean, source.std) if source.mean and source.std else statistics(train[0])
    return Dataset(
        source.name,
        classes,
        train[0],
        train[1],
        test[0],
        test[1],
        mean,
        std,
        pad=round(source.pad * side / (source.size or side)),
        flip=source.flip,
        with_validation=source.with_validation and val is None,
        val=val,
        streamed=side if source.streamed else None,
        notes={} if files is None else files.notes,
    )


def _decode(files: tree.Listing, root: Path, size: int | None) -> tuple[Arrays, Arrays, Arrays | None]:
    """Training, test and validation images, read into memory, with labels; None for no validation images."""
    parts = filter(None, (files.train, files.test, files.val))
    train, test, *val = ((decode(paths, size), labels) for paths, labels in parts)
    for images, _ in (test, *val):
        if images.shape[1] != train[0].shape[1]:
            reason = f"test images {images.shape[1]}; give --input_size"
            raise UsageError(f"--data {root}: training images are {train[0].shape[1]} pixels wide, {reason}")
    return train, test, val[0] if val else None


def statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel of images, uint8 [N, H, W, C], scaled to [0, 1]; to four decimals."""
    levels = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
    share = levels / levels.sum(axis=1, keepdims=True)
    value = np.arange(256) / 255
    mean = share @ value
    std = np.sqrt(np.maximum(share @ value**2 - mean**2, 1e-8))
    return tuple(float(m) for m in mean.round(4)), tuple(float(s) for s in std.round(4))
