"""CIFAR-10 from an archive of JPEG files as a data set of the project, decoded once per process."""

from __future__ import annotations

import functools
import io
import lzma
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import data
from dataset.catalog import Source, is_known, register
from dataset.named.cifar import CIFAR10_CLASSES
from dataset.reading import resize

NAME = "cifar10_jpeg"  # its pixels differ a little from those of the official files


def offer(archive: Path | None, per_class: int | None = None) -> str:
    """Register the archive's images as the data set ``NAME`` and return that name. Later calls change nothing.

    Args:
        archive: an .npz file compressed by xz, with ``train_jpeg`` (all JPEG files concatenated, uint8), ``train_size``
            (bytes of each) and ``train_label``, and likewise for ``test``; None uses synthetic images instead.
        per_class: number of training images of each class; there are half as many test images, at least 1. None for
            all, or for 5,000 and 1,000 synthetic images.
    """
    if not is_known(NAME):
        read = functools.cache(functools.partial(_read, archive, per_class))
        counts = (5000 if per_class is None else per_class,) * 10
        statistics: dict[str, Any] = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
        register(Source(NAME, lambda root, size: _sized(read(), size), None, counts, embedded=True, **statistics))
    return NAME


def _sized(parts: Any, size: int | None) -> Any:
    return *((resize(images, size), labels) for images, labels in parts), CIFAR10_CLASSES


def _read(archive: Path | None, per_class: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    if archive is None:
        return [_drawn(part, count) for part, count in ((0, per_class or 5000), (1, (per_class or 2000) // 2))]
    content = np.load(io.BytesIO(lzma.decompress(archive.read_bytes())), allow_pickle=False)
    return [_decoded(content, "train", per_class), _decoded(content, "test", per_class and max(1, per_class // 2))]


def _drawn(seed: int, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = data.draw(40 * per_class, seed)
    labels = drawn.labels.numpy()
    chosen = np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in range(10)])
    return drawn.images[chosen], labels[chosen].astype(np.int64)


def _decoded(content: Any, part: str, per_class: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and classes int64 [N], class after class as in a tree of folders."""
    stream, sizes, labels = (content[f"{part}_{name}"] for name in ("jpeg", "size", "label"))
    ends = np.cumsum(sizes.astype(np.int64))
    chosen = np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in range(10)])

    def decode(index: int) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(stream[ends[index] - sizes[index] : ends[index]].tobytes())))

    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(decode, chosen))), labels[chosen].astype(np.int64)
