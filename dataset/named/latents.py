"""Latents that ``main_generate.py encode`` made of another data set: a normal distribution for each image.

A folder holds ``train.npy`` and ``test.npy``, float32 [N, H, W, 2 * C], mean and standard deviation of every image's
latents, ``train_labels.npy`` and ``test_labels.npy``, int64 [N], and ``latents.json`` with the names of the classes,
the side of the images in pixels and the digest of the autoencoder.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset.catalog import Source, register
from utils import files
from utils.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from dataset.catalog import Arrays

FACTS = "latents.json"
PARTS = ("train", "test")


def facts(root: Path) -> dict[str, Any]:
    """The content of ``latents.json``: names of the classes, side of the images and digest of the autoencoder.

    Raises UsageError: the file is missing or unreadable.
    """
    flag = f"--data {root}"
    if not (root / FACTS).is_file():
        raise UsageError(f"{flag}: holds no {FACTS}; make latents by main_generate.py encode")
    return files.read_json(root / FACTS, f"{flag}: {FACTS}")


def completed(source: Source, root: Path) -> Source:
    """The source with the classes, counts and side that the folder states."""
    import numpy as np

    stored = facts(root)
    classes = tuple(stored["classes"])
    counts = np.bincount(_array(root, "train_labels"), minlength=len(classes))
    return replace(source, official=tuple(counts.tolist()), classes=classes, size=stored["side"])


def read(root: Path, size: int | None) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """Training and test latents, float32 [N, H, W, 2 * C], with their labels, and the names of the classes.

    Raises UsageError: ``size`` is not that of the encoded images, or a file is missing or unreadable.
    """
    stored = facts(root)
    if size not in (None, stored["side"]):
        raise UsageError(
            f"--input_size {size}: latents in {root} are of images of {stored['side']} pixels; leave it out"
        )
    train, test = ((_array(root, part), _array(root, f"{part}_labels")) for part in PARTS)
    return train, test, tuple(stored["classes"])


def _array(root: Path, name: str) -> np.ndarray:
    import numpy as np

    path = root / f"{name}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--data {root}: {path.name} cannot be read ({error})") from error


register(
    Source(
        "latents",
        read=read,
        completed=completed,
        mean=(0.0,),
        std=(1.0,),
        size=None,
        pad=0,
        flip=False,
        marks=(FACTS,),
        pixels=False,
    )
)
