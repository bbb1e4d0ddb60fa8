"""A file of a generator's pictures and of what a classifier, the judge, takes each of them for."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from utils import files
from utils.errors import UsageError

NAME = "judged.npz"
SIDE = 64  # pixels of a kept picture at most
PER_CLASS = 20  # pictures that are kept of a class, at most
MOST = 16 << 20  # bytes of all kept pictures before they are compressed
LARGEST = 1 << 30  # bytes of such a file


@dataclass(frozen=True, eq=False)
class Judged:
    """Pictures of a generator and the judge's answers.

    Attributes:
        names: names of the data set's classes, str [C].
        labels: the class that a picture was asked for, int64 [N].
        answers: the judge's answer, int64 [N]; C stands for "none of them".
        confidence: its probability of that answer, float32 [N].
        pictures: some of them, uint8 [M, H, W, 3], at most ``SIDE`` pixels wide.
        pictured: positions of ``pictures`` among the N, int64 [M] ascending.
        drawn: the classes that were drawn, int64 [D] ascending.
        distance: Frechet distance of a class's pictures to its real test images in the judge's features, float64 [D];
            NaN where either are fewer than two.
        floor: the distance of as many real training images of the class, to compare with; float64 [D].
    """

    names: np.ndarray
    labels: np.ndarray
    answers: np.ndarray
    confidence: np.ndarray
    pictures: np.ndarray
    pictured: np.ndarray
    drawn: np.ndarray
    distance: np.ndarray
    floor: np.ndarray

    @property
    def asked(self) -> np.ndarray:
        """Whether the judge takes a picture for what it was asked for, bool [N]."""
        return self.answers == self.labels

    @property
    def rejected(self) -> np.ndarray:
        """Whether the judge takes a picture for none of the classes, bool [N]."""
        return self.answers == len(self.names)


def kept(labels: np.ndarray, side: int) -> np.ndarray:
    """Positions of the pictures that a file keeps, int64 ascending: the first ones of every class.

    Args:
        labels: the class of each picture, int64 [N].
        side: side of a picture in pixels.
    """
    drawn = np.unique(labels)
    each = min(PER_CLASS, max(1, MOST // (len(drawn) * 3 * min(side, SIDE) ** 2)))
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:each] for label in drawn]))


def write(folder: Path, found: Judged) -> None:
    """Write ``judged.npz`` to a run's folder; integers are stored in the smallest type that holds them."""
    arrays = {field.name: getattr(found, field.name) for field in fields(found)}
    for name in ("labels", "answers", "pictured", "drawn"):
        arrays[name] = arrays[name].astype(np.min_scalar_type(int(arrays[name].max(initial=0))))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files.write_bytes(folder / NAME, buffer.getvalue())


def read(folder: Path) -> Judged:
    """Read the ``judged.npz`` that ``write`` left in a folder.

    Raises:
        UsageError: it is missing or no such file.
    """
    path = folder / NAME
    if not path.exists():
        said = "scores of an older version have none; move them away and give the score command again"
        raise UsageError(f"{path}: is not there; {said}")
    files.size_of(path, str(path), "scores", LARGEST)
    try:
        with np.load(path) as stored:
            arrays = {field.name: stored[field.name] for field in fields(Judged)}
    except Exception as error:  # noqa: BLE001  (a damaged file can raise anything)
        reason = str(error).partition(". ")[0][:120]
        raise UsageError(f"{path}: is no file of main_generate.py score ({reason})") from None
    for name in ("labels", "answers", "pictured", "drawn"):
        arrays[name] = arrays[name].astype(np.int64)
    return Judged(**arrays)
