"""List the image files of class-folder trees ``train/<class>/*.jpg``, ``test/<class>/*.jpg``, with their labels.

Folders are listed here, but no file is opened. The images of a class come in the order of torchvision's
``ImageFolder``, sub-folders included. Positions of images, as in ``--indexes_to_replace``, count in this order.
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
# Names of folders by part; the first one is the usual name.
PARTS = {"train": ("train", "training"), "test": ("test", "testing"), "val": ("val", "valid", "validation")}
HIDDEN = "hidden or of the system"  # how ``LeftOut`` calls this kind of files
SHOWN = 8  # kinds that ``LeftOut`` names one by one


@dataclass(frozen=True)
class Listing:
    """The image files of a data set, class by class.

    Attributes:
        classes: names of the classes, in order of their numbers.
        train, test: paths, bytes [N], and labels, int64 [N].
        val: like these, the data set's own validation images; None if it has none.
        notes: remarks for a header, by keyword: which folders serve as which sets, and what is not read.
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
    """Counts files that are not read, by kind, and keeps one example of each kind.

    Args:
        root: folder relative to which examples are named.
    """

    def __init__(self, root: Path):
        self._root = root
        self._kinds: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, path: str) -> None:
        """Count ``path`` as one more file of a kind."""
        count, first = self._kinds.get(kind, (0, path))
        self._kinds[kind] = count + 1, min(first, path)

    def file(self, path: str) -> None:
        """Count a file whose name is not that of an image; its suffix is the kind."""
        suffix = os.path.splitext(path)[1].lower()
        self.add(suffix if len(suffix) > 1 else "without a suffix", path)

    @property
    def notes(self) -> dict[str, str]:
        """``words`` under the header's keyword; empty if nothing was left out."""
        return {"left out": words} if (words := self.words()) else {}

    def words(self) -> str:
        """Number, kind and example of all kinds in one line; "" if nothing was left out."""
        kinds = sorted(self._kinds.items(), key=lambda item: (-item[1][0], item[0]))
        shown = [f"{count:,} {kind} ({os.path.relpath(path, self._root)})" for kind, (count, path) in kinds[:SHOWN]]
        more = sum(count for _, (count, _) in kinds[SHOWN:])
        return one_line(", ".join([*shown, *([f"{more:,} of other kinds"] if more else [])]))


def is_tree(root: Path) -> bool:
    """Whether ``root`` has a folder of training classes."""
    return root.is_dir() and "train" in (folders := parts(root)) and bool(subfolders(folders["train"]))


def parts(root: Path) -> dict[str, Path]:
    """The folders of a tree by part, "train", "test" and "val", as far as they exist, in any capitals.

    Raises UsageError: two folders could be the same part, and neither has its usual name.
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
    """Whether a file or folder of this name belongs to no data set: hidden, or left by a system or an archiver."""
    return name.startswith(".") or name.lower() in SYSTEM


def subfolders(folder: Path, left_out: LeftOut | None = None) -> list[str]:
    """Names of the visible folders in ``folder``, sorted.

    Args:
        left_out: counts everything else in the folder.
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

    Files and folders of ``hidden`` names are skipped. Links are followed. A link to a file that is no image is refused
    when it is read, like a damaged image.

    Args:
        left_out: counts the files that are not images.
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
    """The folder that a link points to; UsageError if it holds one of ``ancestors``, the folders above the link."""
    target = os.path.realpath(link)
    if any(os.path.commonpath((target, place)) == target for place in ancestors):
        raise UsageError(f"--data: {link} is a link to a folder that holds it")
    return target


def part(files: dict[str, list[str]], classes: tuple[str, ...]) -> Part:
    """Paths, bytes [N], and labels, int64 [N], from the files of each class; labels are positions in ``classes``."""
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

    If both ``test`` and ``val`` have class folders, the latter is the validation set. If one has, it is the test set.

    Args:
        root: folder of the tree.
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
    """The files of the test or validation part by class; UsageError if it is empty or has unknown classes."""
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
    """Remarks by keyword: which folder serves as which set if there is a choice, and which classes are missing."""
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
    """A hint for an error if folders of classes lie directly in ``root``; else ""."""
    if not root.is_dir():
        return ""
    holding = (name for name in subfolders(root) for file in os.listdir(root / name) if file.lower().endswith(SUFFIXES))
    names = list(dict.fromkeys(holding))
    hint = f"; its folders {', '.join(names[:3])} hold images: put them below train/ and test/"
    return hint if len(names) > 1 else ""


def _by_class(folder: Path, left_out: LeftOut) -> dict[str, list[str]]:
    return {name: images_in(folder / name, left_out) for name in subfolders(folder, left_out)}
