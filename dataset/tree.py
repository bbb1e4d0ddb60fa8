"""Class-folder trees: ``train/<class>/*.jpg`` and ``test/<class>/*.jpg`` (or ``val`` for ``test``)."""
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from utils.errors import UsageError

THREADED = 96  # side in pixels from which decoding gains more from threads than it loses to their lock
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")


def is_tree(root: Path) -> bool:
    """Whether ``root`` has a folder of training classes."""
    return (root / "train").is_dir() and any(entry.is_dir() for entry in os.scandir(root / "train"))


def _files(part: Path) -> dict[str, list[Path]]:
    """Image files by class, both sorted by name."""
    classes = sorted(entry.name for entry in os.scandir(part) if entry.is_dir() and not entry.name.startswith("."))
    return {
        name: [part / name / file for file in sorted(os.listdir(part / name)) if file.lower().endswith(SUFFIXES)]
        for name in classes
    }


def _train_files(root: Path) -> dict[str, list[Path]]:
    if not is_tree(root):
        raise UsageError(f"--data {root}: no folder tree there; expected train/<class>/*.jpg and test/<class>/*.jpg")
    found = _files(root / "train")
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise UsageError(f"--data {root}: no images in train/{empty[0]}")
    if len(found) < 2:
        raise UsageError(f"--data {root}: one class only; a classifier needs two")
    return found


def counts(root: Path) -> list[int]:
    """Training images per class, in the order of the class names.

    Raises:
        UsageError: there is no such tree, or a class without images.
    """
    return [len(files) for files in _train_files(root).values()]


def names(root: Path) -> tuple[str, ...]:
    """Class names, sorted.

    Raises:
        UsageError: as ``counts``.
    """
    return tuple(_train_files(root))


def read(root: Path, size: int | None) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], tuple[str, ...]]:
    """Decode a tree: (train images, labels), (test images, labels), class names.

    Images are uint8 [N, H, W, 3], labels int64 [N] by sorted class name.

    Args:
        size: side in pixels to resize to; None requires equal, square images.
    Raises:
        UsageError: a missing part, an unknown test class, unreadable or unequal images.
    """
    train = _train_files(root)
    part = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if part is None:
        raise UsageError(f"--data {root}: has train/ but neither test/ nor val/")
    test = _files(part)
    unknown = [name for name in test if name not in train]
    if unknown:
        raise UsageError(f"--data {root}: class {unknown[0]} is in {part.name}/ but not in train/")
    classes = tuple(train)
    parts = _decode(train, classes, size), _decode(test, classes, size)
    sides = [images.shape[1] for images, _ in parts]
    if sides[0] != sides[1]:
        raise UsageError(f"--data {root}: training images are {sides[0]} pixels wide, test images {sides[1]}; give --input_size")
    return *parts, classes


def _decode(files: dict[str, list[Path]], classes: tuple[str, ...], size: int | None) -> tuple[np.ndarray, np.ndarray]:
    paths = [path for name in classes for path in files.get(name, [])]
    labels = np.repeat(np.arange(len(classes)), [len(files.get(name, [])) for name in classes]).astype(np.int64)
    if not paths:
        raise UsageError("--data: no test images in the folder tree")
    first = _open(paths[0], size)
    if first.shape[0] != first.shape[1]:
        raise UsageError(f"--data: {paths[0]} is {first.shape[1]}x{first.shape[0]} pixels; give --input_size to make images square")
    images = np.empty((len(paths), *first.shape), dtype=np.uint8)

    def fill(start: int) -> None:
        for position in range(start, min(start + 256, len(paths))):
            image = _open(paths[position], size)
            if image.shape != first.shape:
                raise UsageError(f"--data: {paths[position]} differs in size from {paths[0]}; give --input_size")
            images[position] = image

    workers = 1 if first.shape[0] < THREADED else os.cpu_count()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        list(pool.map(fill, range(0, len(paths), 256)))
    return images, labels


def _open(path: Path, size: int | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip
                image = image.point(lambda level: level / 257).convert("L")
            picture = image.convert("RGB")
            if size is not None and picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"--data: {path} is not a readable image ({error})") from error
