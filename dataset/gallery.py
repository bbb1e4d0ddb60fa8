"""Images to show: a whole data set in memory, checked to be the one that models were trained on."""

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
        classes: names of the classes, in order of their numbers.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def gallery(name: str, root: str | None, size: int | None, digest: str) -> Gallery | None:
    """All images of a data set; None if it has files and no folder is given.

    Args:
        name: name of the data set.
        root: the folder to read, the value of ``--data``; None if it was not typed.
        size: side in pixels that the models saw; None for the data set's own.
        digest: ``sources.Dataset.digest`` of the data set that the models were trained on.
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
