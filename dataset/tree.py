"""Which image files there are and what each shows: class-folder trees ``train/<class>/*.jpg``, ``test/<class>/*.jpg``.

Only folders are listed here; no file is opened.
"""
from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.errors import UsageError

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")
Part = tuple[np.ndarray, np.ndarray]  # paths, bytes [N] in the file system's own encoding; labels, int64 [N]


@dataclass(frozen=True)
class Listing:
    """The image files of a data set, class by class.

    Attributes:
        val: files that the data set itself sets apart for validation; None if it has none.
    """

    classes: tuple[str, ...]
    train: Part = field(repr=False)
    test: Part = field(repr=False)
    val: Part | None = field(default=None, repr=False)

    @property
    def counts(self) -> list[int]:
        """Training images per class, in the order of ``classes``."""
        return np.bincount(self.train[1], minlength=len(self.classes)).tolist()


def is_tree(root: Path) -> bool:
    """Whether ``root`` has a folder of training classes."""
    return (root / "train").is_dir() and bool(subfolders(root / "train"))


def subfolders(folder: Path) -> list[str]:
    """Names of the visible folders in ``folder``, sorted.

    Raises:
        UsageError: a name with control characters.
    """
    found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    for name in found:
        if not name.isprintable():  # it would be printed, written into tables and taken by terminals for commands
            raise UsageError(f"--data: the folder {os.path.join(folder, name)!r} has control characters in its name; rename it")
    return found


def images_in(folder: str) -> list[str]:
    """Paths of the image files in ``folder``, sorted by name.

    Links are followed; a link to anything but an image is refused when it is read, like a damaged image.

    Raises:
        UsageError: a name with control characters, or a folder, device or pipe by an image's name.
    """
    found = sorted((entry for entry in os.scandir(folder) if entry.name.lower().endswith(SUFFIXES)), key=lambda entry: entry.name)
    for entry in found:
        if CONTROL.search(entry.name):
            raise UsageError(f"--data: the file {entry.path!r} has control characters in its name; rename it")
        if not os.path.isfile(entry) if entry.is_symlink() else not entry.is_file():
            raise UsageError(f"--data: {entry.path} is a folder, a device, a pipe or a broken link, not an image")
    return [entry.path for entry in found]


def part(files: dict[str, list[str]], classes: tuple[str, ...]) -> Part:
    """Paths and labels from the files of each class; a label is the place of its class in ``classes``."""
    paths = [os.fsencode(path) for name in classes for path in files.get(name, [])]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(files.get(name, [])) for name in classes])
    return np.array(paths, dtype=np.bytes_), labels


def check_classes(root: Path, train: dict[str, list[str]]) -> None:
    """Refuse training files that no classifier can be trained on.

    Raises:
        UsageError: a class without images, or fewer than two classes.
    """
    empty = [name for name, files in train.items() if not files]
    if empty:
        raise UsageError(f"--data {root}: no images in train/{empty[0]}")
    if len(train) < 2:
        raise UsageError(f"--data {root}: one class only; a classifier needs two")


def listing(root: Path, tests: tuple[str, ...] = ("test", "val")) -> Listing:
    """The files of a class-folder tree; labels by sorted class name.

    Args:
        tests: names of the test part; the first that exists is taken.
    Raises:
        UsageError: no such tree, a missing or empty part, a class without images, an unknown test class.
    """
    if not is_tree(root):
        raise UsageError(f"--data {root}: no folder tree there; expected train/<class>/*.jpg and {tests[0]}/<class>/*.jpg")
    train = _by_class(root / "train")
    check_classes(root, train)
    place = next((root / name for name in tests if (root / name).is_dir()), None)
    if place is None:
        raise UsageError(f"--data {root}: has train/ but neither {tests[0]}/ nor {tests[1]}/")
    test = _by_class(place)
    unknown = [name for name in test if name not in train]
    if unknown:
        raise UsageError(f"--data {root}: class {unknown[0]} is in {place.name}/ but not in train/")
    if not any(test.values()):
        raise UsageError(f"--data {root}: no test images; expected {place.name}/<class>/*.jpg")
    classes = tuple(train)
    return Listing(classes, part(train, classes), part(test, classes))


def _by_class(folder: Path) -> dict[str, list[str]]:
    return {name: images_in(os.path.join(folder, name)) for name in subfolders(folder)}
