"""Where on disk a data set lies: the folder that was named, or the one that is meant by it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dataset import tiny, tree
from dataset.download import FILES
from dataset.names import EMBEDDED, with_validation
from utils.errors import UsageError

if TYPE_CHECKING:
    from dataset.sources import Source

MARKS = {"cifar10": ("cifar-10-batches-py",), "cifar100": ("cifar-100-python",), "svhn": ("train_32x32.mat",)}
ARCHIVES = {"cifar10": FILES["CIFAR10"][0].file, "cifar100": FILES["CIFAR100"][0].file}
DEPTH = 2  # levels of folders that are looked into below the one that was named


def find_root(source: Source, root: Path | None) -> Path:
    """The folder to read: ``root`` if it holds the data set, the folder above or below it that does, or where a download would go.

    Without ``root``, ``./data/NAME``, ``./data`` and their like in ``..`` are tried. TinyImageNet's own folder is also
    looked for in ``root`` and in the current folder.

    Raises:
        UsageError: a file, several folders that could be meant, or a class's folder.
    """
    name = with_validation(source.name)
    if name in EMBEDDED:
        return root or Path("data")
    if root is None:
        return _usual_place(source, name)
    root = root.expanduser()
    if root.is_file():
        if root.name != ARCHIVES.get(name):
            raise UsageError(f"--data {root}: is a file; give the folder that holds the images, unpacked")
        return root.parent
    if fits(source, root):
        return _inner(name, root)
    return _inner(name, _above(source, root) or _below(source, root) or root)


def fits(source: Source, place: Path) -> bool:
    """Whether a folder holds the data set."""
    name = with_validation(source.name)
    if not place.is_dir():
        return False
    if any((place / mark).exists() for mark in (*MARKS.get(name, ()), *filter(None, [ARCHIVES.get(name)]))):
        return True
    if name == "TinyImagenet" and tree.is_tree(place / tiny.FOLDER):
        return True
    if not tree.is_tree(place):
        return False
    return source.read is None or same_classes(tuple(tree.subfolders(tree.parts(place)["train"])), source.classes)


def same_classes(found: tuple[str, ...], own: tuple[str, ...]) -> bool:
    """Whether folders are the classes of a known data set, by name or by number, in its order."""
    named = [name.lower() for name in found] == [name.lower() for name in own]
    return named or (all(name.isdecimal() for name in found) and [int(name) for name in found] == list(range(len(own))))


def _usual_place(source: Source, name: str) -> Path:
    if name == "TinyImagenet":
        return next(
            (at / tiny.FOLDER for at in (Path(), Path("data"), Path("../data")) if tree.is_tree(at / tiny.FOLDER)),
            Path(tiny.FOLDER),
        )
    for candidate in (Path("data"), Path("../data")):
        named = candidate / name  # whatever tree is there is meant
        if fits(source, named) or tree.is_tree(named):
            return named
        if fits(source, candidate):
            return candidate
    return Path("data")


def _inner(name: str, root: Path) -> Path:
    return root / tiny.FOLDER if name == "TinyImagenet" and tree.is_tree(root / tiny.FOLDER) else root


def _above(source: Source, root: Path) -> Path | None:
    """The tree of which ``root`` is a part."""
    whole = Path(os.path.abspath(root))
    within = {
        *(part for several in tree.PARTS.values() for part in several),
        *MARKS.get(with_validation(source.name), ()),
    }
    if whole.name.lower() in within and root.is_dir() and fits(source, whole.parent):
        return whole.parent if root.name in ("", "..") else root.parent
    if whole.parent.name.lower() in within and root.is_dir() and fits(source, whole.parent.parent):
        raise UsageError(f"--data {root}: is the folder of one class; give {whole.parent.parent}")
    return None


def _below(source: Source, root: Path) -> Path | None:
    """The one folder below ``root``, the nearest, that holds the data set."""
    level = [root] if root.is_dir() and not (root / "train").is_dir() else []
    for _ in range(DEPTH):
        level = [folder for place in level for folder in _inside(place)]
        fitting = [folder for folder in level if _fits_if_readable(source, folder)]
        if len(fitting) > 1:
            raise UsageError(
                f"--data {root}: several folders in it hold such a data set: {', '.join(map(str, fitting[:4]))}; give one of them"
            )
        if fitting:
            return fitting[0]
    return None


def _inside(folder: Path) -> list[Path]:
    """The visible folders in a folder; none where it cannot be read, since nobody named it."""
    with suppress(UsageError):
        return [folder / name for name in tree.subfolders(folder)]
    return []


def _fits_if_readable(source: Source, folder: Path) -> bool:
    with suppress(UsageError):
        return fits(source, folder)
    return False
