"""Images to look at: a whole data set in memory, known to be the one that models were trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataset import catalog
from utils.errors import UsageError


@dataclass(frozen=True, eq=False)
class Gallery:
    """All images of a data set.

    Attributes:
        images: uint8 [N, H, W, C], the official training images first, then the test images.
        labels: int64 [N].
        classes: their names.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def gallery(name: str, root: str | None, size: int | None, digest: str) -> Gallery | None:
    """The images of a data set that comes with a package or lies in a folder that was named; None for any other.

    Args:
        root: the value of ``--data``.
        size: side in pixels that the models saw; None for the data set's own.
        digest: of the data set that is meant.
    Raises:
        UsageError: there is no such folder, or it holds other images.
    """
    if root is None and not catalog.get(name).embedded:
        return None
    from dataset import prepare

    data = prepare.find(name, root, size).load()
    if data.digest != digest:
        flag = f"--data {root}" if root is not None else name
        raise UsageError(f"{flag}: holds other images than the models were trained on; name their folder by --data")
    parts = ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    images, labels = (np.concatenate(part) for part in zip(*parts))
    return Gallery(images, labels, data.classes)
