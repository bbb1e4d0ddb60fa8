#!/usr/bin/env python3
"""The first images of each class of a data set, as PNG files in class folders, for experiments of that size.

    python experiments/subset.py cifar10 data/cifar10-100 --train 100 --test 100

It reads the images below --data, or downloads them, as the main scripts do.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image  # noqa: E402

from dataset import catalog, sources  # noqa: E402
from dataset.locate import find_root  # noqa: E402
from utils import files  # noqa: E402
from utils.errors import UsageError, leave, script  # noqa: E402


def write(dataset: sources.Dataset, folder: Path, train: int, test: int) -> list[str]:
    """Write ``folder/{train,test}/CLASS/NNNN.png`` and return a line of text for each of the two parts.

    Args:
        dataset: in memory, images uint8 [N, H, W, C].
        train, test: number of images of each class, the first ones in the data set's order.
    Raises:
        UsageError: ``folder`` exists, the data set is streamed from disk, or a class has fewer images.
    """
    if dataset.streamed is not None:
        raise UsageError(f"{dataset.name}: its images are not read into memory; give another data set")
    if folder.exists():
        raise UsageError(f"{folder}: is there already; give another folder, or remove it")
    parts = {
        "train": (dataset.train_images, dataset.train_labels, train),
        "test": (dataset.test_images, dataset.test_labels, test),
    }
    for part, (_, labels, count) in parts.items():
        counts = np.bincount(labels, minlength=len(dataset.classes))
        if not 1 <= count <= counts.min():
            name = dataset.classes[counts.argmin()]
            raise UsageError(f"--{part} {count}: must be 1 to {counts.min()}, which is what class {name} has")
    for part, (images, labels, count) in parts.items():
        for label, name in enumerate(dataset.classes):
            place = folder / part / name
            files.make_folder(place)
            for number, image in enumerate(images[np.flatnonzero(labels == label)[:count]]):
                stream = io.BytesIO()
                Image.fromarray(image.squeeze()).save(stream, "PNG")
                files.write_bytes(place / f"{number:04d}.png", stream.getvalue())
    return [f"{part}: {count} images of each of {len(dataset.classes)} classes" for part, (*_, count) in parts.items()]


@script
def main(argv: list[str] | None = None) -> int:
    """Parse the command line, load the data set and write the folders; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="as --dataset of the main scripts")
    parser.add_argument("folder", type=Path, help="where the class folders go")
    parser.add_argument("--data", type=Path, help="as --data of the main scripts")
    parser.add_argument("--train", type=int, required=True, help="training images of each class")
    parser.add_argument("--test", type=int, required=True, help="test images of each class")
    told = parser.parse_args(argv)
    source = catalog.get(told.dataset)
    dataset = sources.load(source, find_root(source, told.data))
    print("\n".join(write(dataset, told.folder, told.train, told.test)))
    if dataset.val is not None:
        print(f"left out: the data set's own {len(dataset.val[1]):,} validation images")
    return 0


if __name__ == "__main__":
    leave(main())
