"""The layout of tiny-imagenet-200: 200 classes of 500 training images, 10,000 official validation images.

The official test images have no labels, so the validation images serve for both: within each class
the first half by file name validates, the second half tests. Nothing on disk is moved.
"""

from __future__ import annotations

import os
from pathlib import Path

from dataset import tree
from dataset.catalog import IMAGENET, Source, register
from utils import files
from utils.errors import UsageError

FOLDER = "tiny-imagenet-200"


def listing(root: Path) -> tree.Listing:
    """The files of ``train/<wnid>/images``, and those of ``val`` in two halves; labels by sorted wnid.

    Validation images lie in ``val/images`` with ``val/val_annotations.txt`` beside it, or sorted into
    ``val/<wnid>/images``. The reference's code moves half of the latter to ``test/<wnid>/images``. Both folders are
    then read, which gives the same halves.

    Raises UsageError: a missing part, or annotations that do not fit the images.
    """
    if not tree.is_tree(root):
        expected = "train/<wnid>/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt"
        raise UsageError(f"--data {root}: no {FOLDER} there; expected {expected}")
    left_out, place = _Others(root), tree.parts(root)["train"]
    train = {wnid: tree.images_in(place / wnid, left_out) for wnid in tree.subfolders(place, left_out)}
    tree.check_classes(root, train, left_out)
    classes = tuple(train)
    annotated = (root / "val" / "images").is_dir()
    unsorted = _annotated(root, classes, left_out) if annotated else _in_class_folders(root, classes, left_out)
    official = {wnid: sorted(paths, key=os.path.basename) for wnid, paths in unsorted.items()}
    if max(map(len, official.values())) < 2:
        expected = "val/images/*.JPEG and val/val_annotations.txt, or val/<wnid>/images/*.JPEG"
        raise UsageError(f"--data {root}: no two validation images of any class; expected {expected}")
    first = tree.part({wnid: files[: len(files) // 2] for wnid, files in official.items()}, classes)
    second = tree.part({wnid: files[len(files) // 2 :] for wnid, files in official.items()}, classes)
    return tree.Listing(classes, tree.part(train, classes), second, first, left_out.notes)


class _Others(tree.LeftOut):
    """Does not count the data set's own text files beside the images."""

    def file(self, path: str) -> None:
        if not path.endswith(("_boxes.txt", "_annotations.txt")):
            super().file(path)


def _in_class_folders(root: Path, classes: tuple[str, ...], left_out: tree.LeftOut) -> dict[str, list[str]]:
    """Official validation images by class, from folders of classes."""
    by_class: dict[str, list[str]] = {wnid: [] for wnid in classes}
    for place in (root / "val", root / "test"):
        for wnid in tree.subfolders(place, left_out) if place.is_dir() else []:
            if wnid in by_class:
                by_class[wnid] += tree.images_in(place / wnid, left_out)
            elif place.name == "val":
                raise UsageError(f"--data {root}: class {wnid} is in val/ but not in train/")
    return by_class


def _annotated(root: Path, classes: tuple[str, ...], left_out: tree.LeftOut) -> dict[str, list[str]]:
    """Official validation images by class, from one folder and its list of labels."""
    annotations = root / "val" / "val_annotations.txt"
    if not annotations.exists():
        lacks = "val/images is there, val/val_annotations.txt is not; it says what each image shows"
        raise UsageError(f"--data {root}: {lacks}")
    for name in set(tree.subfolders(root / "val", left_out)) - {"images"}:
        left_out.add("beside val/images", str(root / "val" / name))
    listed = f"--data {root}: val/val_annotations.txt"
    text = files.read_text(annotations, listed)
    rows = [line.split() for line in text.splitlines() if line.strip()]
    by_class: dict[str, list[str]] = {wnid: [] for wnid in classes}
    paths = {os.path.basename(path): path for path in tree.images_in(root / "val" / "images", left_out)}
    for number, row in enumerate(rows, start=1):
        if len(row) < 2 or row[1] not in by_class:
            raise UsageError(f"{listed}, line {number}: expected a file name and a class of train/")
        if row[0] not in paths:
            raise UsageError(f"{listed} lists {row[0]}, which is not in val/images, or lists it twice")
        by_class[row[1]].append(paths.pop(row[0]))
    if paths:
        raise UsageError(f"--data {root}: val/images/{min(paths)} is not listed in val/val_annotations.txt")
    return by_class


register(
    Source(
        "TinyImagenet", layout=listing, mean=IMAGENET[0], std=IMAGENET[1], size=64, with_validation=False, folder=FOLDER
    )
)
