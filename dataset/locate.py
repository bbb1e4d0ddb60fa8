"""Find the folder of a data set: the one that was named, or one near it that holds the data set."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import chain
from pathlib import Path

from dataset import tree
from dataset.catalog import Source, base_name
from utils.errors import UsageError

DEPTH = 2  # levels of folders that are looked into below the one that was named


def find_root(source: Source, root: Path | None) -> Path:
    """The folder to read: ``root``, one above or below it that holds the data set, or where a download would go.

    Without ``root``, ``data/NAME`` and ``data`` are tried in the current folder and in the one above it. A data set
    with a usual folder (``Source.folder``), like TinyImageNet, is looked for by the name of that folder instead: in the
    current folder, ``data`` and ``../data``. If ``root`` holds that folder, it is taken.

    Raises:
        UsageError: ``root`` is a file or the folder of one class, or several folders in it could be meant.
    """
    if source.embedded:
        return root or Path("data")
    if root is None:
        return _usual_place(source)
    root = root.expanduser()
    if root.is_file():
        if root.name != source.archive:
            raise UsageError(f"--data {root}: is a file; give the folder that holds the images, unpacked")
        return root.parent
    if fits(source, root):
        return _inner(source, root)
    return _inner(source, _above(source, root) or _below(source, root) or root)


def fits(source: Source, place: Path) -> bool:
    """Whether the folder ``place`` holds the data set, by its marks or as a class-folder tree."""
    if not place.is_dir():
        return False
    if any((place / mark).exists() for mark in (*source.marks, *filter(None, [source.archive]))):
        return True
    if source.folder and tree.is_tree(place / source.folder):
        return True
    if not tree.is_tree(place):
        return False
    if source.read is None or source.classes is None:
        return True
    return same_classes(tuple(tree.subfolders(tree.parts(place)["train"])), source.classes)


def same_classes(names: tuple[str, ...], own: tuple[str, ...]) -> bool:
    """Whether folders ``names`` are the classes ``own`` of a known data set, by name or by number, in its order."""
    if all(name.isdecimal() for name in names) and [int(name) for name in names] == list(range(len(own))):
        return True
    return [name.lower() for name in names] == [name.lower() for name in own]


def _usual_place(source: Source) -> Path:
    if source.folder is not None:
        places = (folder / source.folder for folder in (Path(), Path("data"), Path("../data")))
        return next((place for place in places if tree.is_tree(place)), Path(source.folder))
    for candidate in (Path("data"), Path("../data")):
        named = candidate / base_name(source.name)  # any class-folder tree of this name is taken
        if fits(source, named) or tree.is_tree(named):
            return named
        if fits(source, candidate):
            return candidate
    return Path("data")


def _inner(source: Source, root: Path) -> Path:
    return root / source.folder if source.folder and tree.is_tree(root / source.folder) else root


def _above(source: Source, root: Path) -> Path | None:
    """The folder above ``root`` if it holds the data set and ``root`` is a part of it, such as ``train``; else None."""
    absolute = Path(os.path.abspath(root))
    inner = {*chain.from_iterable(tree.PARTS.values()), *source.marks}
    if absolute.name.lower() in inner and root.is_dir() and fits(source, absolute.parent):
        return absolute.parent if root.name in ("", "..") else root.parent
    if absolute.parent.name.lower() in inner and root.is_dir() and fits(source, absolute.parent.parent):
        raise UsageError(f"--data {root}: is the folder of one class; give {absolute.parent.parent}")
    return None


def _below(source: Source, root: Path) -> Path | None:
    """The nearest folder below ``root`` that holds the data set; None if there is none."""
    level = [root] if root.is_dir() and not (root / "train").is_dir() else []
    for _ in range(DEPTH):
        level = [folder for place in level for folder in _inside(place)]
        fitting = [folder for folder in level if _fits_if_readable(source, folder)]
        if len(fitting) > 1:
            reason = f"several folders in it hold such a data set: {', '.join(map(str, fitting[:4]))}; give one of them"
            raise UsageError(f"--data {root}: {reason}")
        if fitting:
            return fitting[0]
    return None


def _inside(folder: Path) -> list[Path]:
    """The visible folders in a folder; none if it cannot be read, which is no error since it was not named."""
    with suppress(UsageError):
        return [folder / name for name in tree.subfolders(folder)]
    return []


def _fits_if_readable(source: Source, folder: Path) -> bool:
    with suppress(UsageError):
        return fits(source, folder)
    return False
