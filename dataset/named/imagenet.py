"""ImageNet (ILSVRC 2012) in class folders; ``val`` is the test set, because its own ``test`` has no labels."""

from __future__ import annotations

from pathlib import Path

from dataset import tree
from dataset.catalog import IMAGENET, Source, register
from utils.errors import UsageError


def listing(root: Path) -> tree.Listing:
    """The files of ``train`` and ``val``. Raises UsageError: validation images that are not sorted into classes."""
    if (root / "val").is_dir() and not tree.subfolders(root / "val"):
        raise UsageError(f"--data {root}: val/ has no class folders; sort its images into val/<wnid>/ first")
    return tree.listing(root, ("val", "test"))


register(
    Source(
        "imagenet", layout=listing, mean=IMAGENET[0], std=IMAGENET[1], size=224, streamed=True, with_validation=False
    )
)
