"""Which image files there are and what each shows: class-folder trees ``train/<class>/*.jpg``, ``test/<class>/*.jpg``.

Only folders are listed here; no file is opened. The images of a class come in the order of
torchvision's ``ImageFolder``, which goes into sub-folders; that order is what positions count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.positions import SUFFIXES
from utils.errors import UsageError, one_line
from utils.names import listed

if TYPE_CHECKING:
    import numpy as np

    Part = tuple[np.ndarray, np.ndarray]  # paths, bytes [N] in the file system's own encoding; labels, int64 [N]

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SYSTEM = {
    *"__macosx @eadir lost+found __pycache__ $recycle.bin thumbs.db desktop.ini".split(),
    "system volume information",
}
# the first name is the usual one
PARTS = {"train": ("train", "training"), "test": ("test", "testing"), "val": ("val", "valid", "validation")}
HIDDEN = "hidden or of the system"  # a kind of files that are not read
SHOWN = 8  # kinds of files that are named one by one


@dataclass(frozen=True)
class Listing:
    """The image files of a data set, class by class.

    Attributes:
        val: files that the data set itself sets apart for validation; None if it has none.
        notes: what a header says of them, by keyword: which part serves for what, and what is not read.
    """

    classes: tuple[str, ...]
    train: Part = field(repr=False)
    test: Part = field(repr=False)
    val: Part | None = field(default=None, repr=False)
    notes: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def counts(self) -> list[int]:
        """Training images per class, in the order of ``classes``."""
        import numpy as np

        return np.bincount(self.train[1], minlength=len(self.classes)).tolist()

    def without_val(self) -> Listing:
        """A listing that leaves the data set's own validation files out."""
        if self.val is None:
            return self
        note = {"validation": "the test images (--no_val); the data set's own are not read"}
        return replace(self, val=None, notes=self.notes | note)


class LeftOut:
    """Counts what is not read, by kind, each kind with one example.

    Args:
        root: examples are named from here on.
    """

    def __init__(self, root: Path):
        self._root = root
        self._kinds: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, path: str) -> None:
        """One more of a kind."""
        count, first = self._kinds.get(kind, (0, path))
        self._kinds[kind] = count + 1, min(first, path)

    def file(self, path: str) -> None:
        """A file that is no image by its name."""
        suffix = os.path.splitext(path)[1].lower()
        self.add(suffix if len(suffix) > 1 else "without a suffix", path)

    @property
    def notes(self) -> dict[str, str]:
        """``words`` for the header, or nothing."""
        return {"left out": words} if (words := self.words()) else {}

    def words(self) -> str:
        """Number, kind and example of each, or nothing."""
        kinds = sorted(self._kinds.items(), key=lambda item: (-item[1][0], item[0]))
        shown = [f"{count:,} {kind} ({os.path.relpath(path, self._root)})" for kind, (count, path) in kinds[:SHOWN]]
        more = sum(count for _, (count, _) in kinds[SHOWN:])
        return one_line(", ".join([*shown, *([f"{more:,} of other kinds"] if more else [])]))


def is_tree(root: Path) -> bool:
    """Whether ``root`` has a folder of training classes."""
    return root.is_dir() and "train" in (folders := parts(root)) and bool(subfolders(folders["train"]))


def parts(root: Path) -> dict[str, Path]:
    """The folders "train", "test" and "val" of a tree, as far as they are there, whatever their capitals.

    Raises UsageError: two folders that could be the same part, neither by its usual name.
    """
    names = [entry.name for entry in _entries(str(root)) if _is_dir(entry)]
    folders = {}
    for part, known in PARTS.items():
        fitting = sorted(name for name in names if name.lower() in known)
        if part in fitting:
            folders[part] = root / part
        elif len(fitting) > 1:
            hint = "rename the one that is"
            raise UsageError(f"--data {root}: both {fitting[0]}/ and {fitting[1]}/ could be {part}/; {hint}")
        elif fitting:
            folders[part] = root / fitting[0]
    return folders


def hidden(name: str) -> bool:
    """Whether a file or folder is no part of any data set: hidden, or what a system or an archiver leaves behind."""
    return name.startswith(".") or name.lower() in SYSTEM


def subfolders(folder: Path, left_out: LeftOut | None = None) -> list[str]:
    """Names of the visible folders in ``folder``, sorted.

    Args:
        left_out: collects what else there is.
    Raises:
        UsageError: a folder that cannot be read, or a name with control characters.
    """
    left_out = left_out or LeftOut(folder)
    names = []
    for entry in _entries(str(folder)):
        if hidden(entry.name):
            left_out.add(HIDDEN, entry.path)
        elif _is_dir(entry):
            names.append(entry.name)
        elif entry.name.lower().endswith(SUFFIXES):
            left_out.add("beside the class folders", entry.path)
        else:
            left_out.file(entry.path)
    names.sort()
    for name in names:
        if not name.isprintable():  # it would be printed, written into tables and taken by terminals for commands
            reason = f"the folder {os.path.join(folder, name)!r} has control characters in its name; rename it"
            raise UsageError(f"--data: {reason}")
    return names


def images_in(folder: Path, left_out: LeftOut) -> list[str]:
    """Paths of the image files in ``folder`` and below it, in the order of torchvision's ``ImageFolder``.

    Hidden files and folders, and what a system leaves behind, are passed over. Links are followed; a link to
    anything but an image is refused when it is read, like a damaged image.

    Args:
        left_out: collects what is not read.
    Raises:
        UsageError: a name with control characters, a folder, device or pipe by an image's name, a folder that
            cannot be read, or links that lead in a circle.
    """
    images: list[tuple[str, str]] = []
    waiting: list[tuple[str, tuple[str, ...]]] = [(str(folder), (os.path.realpath(folder),))]
    if folder.is_symlink():
        _check_circle(str(folder), (os.path.realpath(folder.parent),))
    while waiting:
        current, ancestors = waiting.pop()
        for entry in _entries(current):
            if hidden(entry.name):
                left_out.add(HIDDEN, entry.path)
            elif entry.name.lower().endswith(SUFFIXES):
                _check_image(entry)
                images.append((current, entry.name))
            elif _is_dir(entry):
                if CONTROL.search(entry.name):
                    raise UsageError(f"--data: the folder {entry.path!r} has control characters in its name; rename it")
                target = os.path.join(ancestors[-1], entry.name)
                if entry.is_symlink():
                    target = _check_circle(entry.path, ancestors)
                waiting.append((entry.path, (*ancestors, target)))
            else:
                left_out.file(entry.path)
    return [os.path.join(*place) for place in sorted(images)]


def _entries(folder: str) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise UsageError(f"--data: the folder {folder} cannot be read ({error.strerror})") from None


def _is_dir(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def _check_image(entry: os.DirEntry) -> None:
    if CONTROL.search(entry.name):
        raise UsageError(f"--data: the file {entry.path!r} has control characters in its name; rename it")
    if not os.path.isfile(entry) if entry.is_symlink() else not entry.is_file():
        raise UsageError(f"--data: {entry.path} is a folder, a device, a pipe or a broken link, not an image")


def _check_circle(link: str, ancestors: tuple[str, ...]) -> str:
    """Where a linked folder really is; an error if it holds one of ``ancestors``, the folders that lead to the link."""
    target = os.path.realpath(link)
    if any(os.path.commonpath((target, place)) == target for place in ancestors):
        raise UsageError(f"--data: {link} is a link to a folder that holds it")
    return target


def part(files: dict[str, list[str]], classes: tuple[str, ...]) -> Part:
    """Paths and labels from the files of each class; a label is the place of its class in ``classes``."""
    import numpy as np

    paths = [os.fsencode(path) for name in classes for path in files.get(name, [])]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(files.get(name, [])) for name in classes])
    return np.array(paths, dtype=np.bytes_), labels


def check_classes(root: Path, train: dict[str, list[str]], left_out: LeftOut) -> None:
    """Refuse training files that no classifier can be trained on.

    Raises UsageError: a class without images, or fewer than two classes.
    """
    empty = [name for name, files in train.items() if not files]
    if empty:
        others = f", not these: {words}" if (words := left_out.words()) else ""
        reason = f"no images in train/{empty[0]}; files that end in {', '.join(SUFFIXES)} are read{others}"
        raise UsageError(f"--data {root}: {reason}")
    if len(train) < 2:
        raise UsageError(f"--data {root}: one class only; a classifier needs two")


def listing(root: Path, tests: tuple[str, ...] = ("test", "val")) -> Listing:
    """The files of a class-folder tree; labels by sorted class name.

    With class folders in both ``test`` and ``val``, the latter validates; otherwise the one that has them tests.

    Args:
        tests: names of the test part, the usual one first, for errors.
    Raises:
        UsageError: no such tree, a missing or empty part, a class without images, an unknown test class.
    """
    if not is_tree(root):
        form = f"expected train/<class>/*.jpg and {tests[0]}/<class>/*.jpg{_hint(root)}"
        raise UsageError(f"--data {root}: no folder tree there; {form}")
    folders, left_out = parts(root), LeftOut(root)
    train = _by_class(folders["train"], left_out)
    check_classes(root, train, left_out)
    classes = tuple(train)
    named: tuple[str, ...] = ("test", "val")
    labelled = {name: folders[name] for name in named if name in folders and subfolders(folders[name])}
    if not labelled:
        if "test" in folders or "val" in folders:
            raise UsageError(f"--data {root}: no test images; expected {tests[0]}/<class>/*.jpg")
        raise UsageError(f"--data {root}: has train/ but neither {tests[0]}/ nor {tests[1]}/{_hint(root)}")
    files_of = {name: _held_out(root, place, train, left_out) for name, place in labelled.items()}
    _note_others(root, [folders["train"], *labelled.values()], classes, left_out)
    notes = _notes(labelled, files_of, classes) | left_out.notes
    test, *val = (part(each, classes) for each in files_of.values())
    return Listing(classes, part(train, classes), test, val[0] if val else None, notes)


def _held_out(root: Path, place: Path, train: dict[str, list[str]], left_out: LeftOut) -> dict[str, list[str]]:
    """The files of a part that is not trained on."""
    files = _by_class(place, left_out)
    unknown = [name for name in files if name not in train]
    if unknown:
        tiny = (place / "val_annotations.txt").exists()
        more = "; it looks like tiny-imagenet-200: give --dataset TinyImagenet" if tiny else ""
        raise UsageError(f"--data {root}: class {unknown[0]} is in {place.name}/ but not in train/{more}")
    if not any(files.values()):
        form = f"images; expected {place.name}/<class>/*.jpg"
        raise UsageError(f"--data {root}: no {'validation' if place.name.lower().startswith('val') else 'test'} {form}")
    return files


def _notes(
    labelled: dict[str, Path], files_of: dict[str, dict[str, list[str]]], classes: tuple[str, ...]
) -> dict[str, str]:
    """Which folder serves for what, where there is a choice, and which classes it lacks."""
    notes = {}
    if len(files_of) == 2:
        notes["validation"] = f"{labelled['val'].name}/, the data set's own"
    elif "val" in files_of:
        notes["test"] = f"{labelled['val'].name}/, there being no labelled test/"
    lacking = {name: [label for label in classes if not files.get(label)] for name, files in files_of.items()}
    words = [f"no {labelled[name].name}/ images of {listed(labels)}" for name, labels in lacking.items() if labels]
    return notes | ({"lacking": "; ".join(words)} if words else {})


def _note_others(root: Path, used: list[Path], classes: tuple[str, ...], left_out: LeftOut) -> None:
    """Tell ``left_out`` of folders and images in ``root`` that look like more of the data set."""
    named = list(chain.from_iterable(PARTS.values()))
    for entry in sorted(_entries(str(root)), key=lambda entry: entry.name):
        if hidden(entry.name) or root / entry.name in used:
            continue
        more = _is_dir(entry) and (
            entry.name.lower() in named or any((Path(entry.path) / label).is_dir() for label in classes)
        )
        if more or entry.name.lower().endswith(SUFFIXES):
            left_out.add("beside train/", entry.path)


def _hint(root: Path) -> str:
    """What may be meant by a folder that is no tree."""
    if not root.is_dir():
        return ""
    holding = (name for name in subfolders(root) for file in os.listdir(root / name) if file.lower().endswith(SUFFIXES))
    names = list(dict.fromkeys(holding))
    hint = f"; its folders {', '.join(names[:3])} hold images: put them below train/ and test/"
    return hint if len(names) > 1 else ""


def _by_class(folder: Path, left_out: LeftOut) -> dict[str, list[str]]:
    return {name: images_in(folder / name, left_out) for name in subfolders(folder, left_out)}
