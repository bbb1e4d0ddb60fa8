"""Data sets in IDX files, the format of MNIST: a shape followed by unsigned bytes, plain or as .gz."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from utils import files
from utils.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from dataset.catalog import Arrays, Reader

PARTS = ("train", "t10k")
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
MARKS = tuple(f"train-{name}{end}" for name in (IMAGES, IMAGES.replace("-idx", ".idx")) for end in ("", ".gz"))
SIDE = 32  # pixels; the images of 28 x 28 are resized to this, as in Deep Unlearn
MOST = 1 << 30  # bytes of such a file, unpacked


def read_idx(name: str, classes: tuple[str, ...], counts: tuple[int, ...]) -> Reader:
    """Reader of four IDX files in ``name/raw`` below the root, as torchvision has them, in ``raw`` or in the root.

    Args:
        name: torchvision's class, which names its folder.
        classes: names of the classes.
        counts: training images of each class, which tell data sets apart whose files have the same names.
    """

    def read(root: Path, size: int | None) -> tuple[Arrays, Arrays, tuple[str, ...]]:
        import numpy as np

        folders = (root / name / "raw", root / "raw", root)
        place = next((folder for folder in folders if _path(folder, "train", IMAGES)), None) or _fetched(name, root)
        train, test = (_part(place, part, size or SIDE) for part in PARTS)
        stored = np.bincount(train[1], minlength=len(counts)).tolist()
        if stored != list(counts) or test[1].max() >= len(counts):
            numbers = f"{stored[0]:,} of class 0 and {len(stored)} classes; {name} has {counts[0]:,} and {len(counts)}"
            raise UsageError(f"--data {place}: holds another data set by the same file names, with {numbers}")
        return train, test, classes

    return read


def _fetched(name: str, root: Path) -> Path:
    """Where the files are after a download."""
    from dataset.download import FILES, fetch

    place = root / name / "raw"
    try:
        for remote in FILES[name]:
            fetch(remote, place)
    except UsageError as error:
        hint = f"put {MARKS[0]} (or .gz) and its like there, or a tree train/<class>/*.png, test/<class>/*.png"
        raise UsageError(f"--data {root}: holds no {name} and it cannot be downloaded ({error}); {hint}") from error
    return place


def _path(place: Path, part: str, name: str) -> Path | None:
    """The file under one of its usual names; None if there is none."""
    paths = (place / f"{part}-{stem}{end}" for stem in (name, name.replace("-idx", ".idx")) for end in ("", ".gz"))
    return next(filter(Path.is_file, paths), None)


def _part(place: Path, part: str, size: int) -> Arrays:
    """Images in three equal channels, uint8 [N, size, size, 3], and their labels, int64 [N]."""
    import numpy as np

    from dataset.reading import resize

    images, labels = (_array(place, part, name, rank) for name, rank in ((IMAGES, 3), (LABELS, 1)))
    if len(images) != len(labels) or not len(labels):
        raise UsageError(f"--data {place}: has {len(images):,} {part} images and {len(labels):,} labels")
    return np.repeat(resize(images[..., None], size), 3, axis=-1), labels.astype(np.int64)


def _array(place: Path, part: str, name: str, rank: int) -> np.ndarray:
    """The unsigned bytes of a file, of ``rank`` dimensions."""
    import numpy as np

    path = _path(place, part, name)
    if path is None:
        raise UsageError(f"--data {place}: lacks {part}-{name} (or .gz)")
    files.size_of(path, f"--data {path}", "IDX file", MOST)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read(MOST + 1)
        shape = np.frombuffer(content, ">u4", rank, offset=4).tolist()
        if content[:4] != bytes((0, 0, 8, rank)) or len(content) > MOST:
            raise ValueError(f"it does not begin as unsigned bytes of {rank} dimensions do")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UsageError(f"--data {path}: is damaged or no IDX file ({error})") from None
