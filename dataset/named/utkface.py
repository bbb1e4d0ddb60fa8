"""UTKFace (Zhang et al. 2017), aligned and cropped: faces in five classes of age, as in the benchmark Deep Unlearn.

A file is called AGE_GENDER_RACE_DATE.jpg. Files are sorted by name before they are divided.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from dataset import tree
from dataset.catalog import IMAGENET, Source, register
from utils.errors import UsageError

FOLDERS = ("UTKFace", "utkface", "UTKface_Aligned_cropped", "utkface_aligned_cropped")
CLASSES = ("0-19", "20-39", "40-59", "60-79", "80+")  # years
PUBLISHED, SEED, TESTED = 23_708, 123, 0.2
AGE = re.compile(r"([0-9]{1,3})_")


def listing(root: Path) -> tree.Listing:
    """The images by class of age; a fifth of them, drawn at random with a fixed seed, are test images.

    Raises UsageError: there are none, or too few to divide.
    """
    import numpy as np

    place, left_out = _place(root), tree.LeftOut(root)
    paths: list[bytes] = []
    ages: list[int] = []
    for path in tree.images_in(place, left_out):
        age = AGE.match(os.path.basename(path))
        if os.path.dirname(path) != str(place):
            left_out.add("in folders below", path)
        elif age is None:
            left_out.add("whose name does not begin with an age", path)
        else:
            paths.append(os.fsencode(path))
            ages.append(int(age[1]))
    tests = int(TESTED * len(paths))
    if not tests:
        raise UsageError(f"--data {place}: has {len(paths)} images with an age in their name; too few to divide")
    files, labels = np.array(paths, dtype=np.bytes_), np.minimum(np.array(ages) // 20, len(CLASSES) - 1)
    order = np.random.default_rng(SEED).permutation(len(paths))
    test, train = ((files[part], labels[part].astype(np.int64)) for part in (order[:tests], order[tests:]))
    return tree.Listing(CLASSES, train, test, notes={"files": _words(paths)} | left_out.notes)


def _place(root: Path) -> Path:
    """The folder that holds the images themselves."""
    below = [root / name for name in FOLDERS]
    for place in (root, *below, *(folder / FOLDERS[0] for folder in below)):
        with suppress(OSError):
            if any(map(AGE.match, os.listdir(place))):
                return place
    expected = f"{FOLDERS[0]}/AGE_GENDER_RACE_DATE.jpg, such as 26_0_1_20170116184024662.jpg.chip.jpg"
    raise UsageError(f"--data {root}: holds no UTKFace, which has to be fetched by hand; expected {expected}")


def _words(paths: list[bytes]) -> str:
    """How many images there are and should be, and a digest of their names by which folders can be compared."""
    names = hashlib.sha256(b"\n".join(map(os.path.basename, paths))).hexdigest()[:16]
    missing = "" if len(paths) == PUBLISHED else f", {PUBLISHED:,} as published"
    return f"{len(paths):,} images{missing}; names' digest {names}"


register(
    Source(
        "utkface",
        layout=listing,
        classes=CLASSES,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        size=224,
        resized=True,
        pad=0,
        flip=False,
        marks=FOLDERS,
    )
)
