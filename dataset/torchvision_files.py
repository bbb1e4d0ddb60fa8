"""Data sets that torchvision reads and that can be downloaded. Imports neither numpy nor torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dataset import locate, tree
from dataset.catalog import NUMERALS
from utils.errors import UsageError

if TYPE_CHECKING:
    from dataset.catalog import Arrays, Reader

PARTS = ("train", "test")


def read_torchvision(dataset_class: str) -> Reader:
    """A ``catalog.Reader`` for a data set in torchvision's layout, downloaded first if it is absent.

    Args:
        dataset_class: name of torchvision's class, a key of ``download.FILES``.
    """

    def read(root: Path, size: int | None) -> tuple[Arrays, Arrays, tuple[str, ...]]:
        import numpy as np
        import torchvision.datasets

        from dataset.download import FILES, fetch
        from dataset.reading import resize

        make = getattr(torchvision.datasets, dataset_class)
        svhn = dataset_class == "SVHN"
        try:
            for remote in FILES[dataset_class]:
                fetch(remote, root)
            parts = [make(str(root), split=part) if svhn else make(str(root), part == "train") for part in PARTS]
        except (OSError, RuntimeError, UsageError) as error:
            hint = f"({error}); put torchvision's files or a tree train/<class>/*.png, test/<class>/*.png there"
            raise UsageError(f"--data {root}: holds no {dataset_class} and it cannot be downloaded {hint}") from error
        train, test = (
            (
                resize(part.data.transpose(0, 2, 3, 1) if svhn else part.data, size),
                np.asarray(part.labels if svhn else part.targets, dtype=np.int64),
            )
            for part in parts
        )
        return train, test, NUMERALS if svhn else tuple(parts[0].classes)

    return read


def tree_of(name: str, classes: tuple[str, ...]) -> Callable[[Path], tree.Listing | None]:
    """A ``layout`` of ``catalog.Source`` that accepts a class-folder tree instead of torchvision's files.

    It raises UsageError for a tree of other classes.

    Args:
        name: name of the data set, for errors.
        classes: names of its classes, in order.
    """

    def layout(root: Path) -> tree.Listing | None:
        files = tree.listing(root) if tree.is_tree(root) else None
        if files is not None and not locate.same_classes(files.classes, classes):
            stored = f"{len(files.classes)} classes ({', '.join(files.classes[:3])}, ...)"
            own = f"{name} has {len(classes)} ({', '.join(classes[:3])}, ...), in this order; give --dataset folder"
            raise UsageError(f"--data {root}: has {stored}, {own}")
        return files

    return layout
