"""Splits in files: index arrays under the names of the sets, written by this project or by another tool."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dataset.split import SCHEMES, BaseSplit, digest
from utils import files
from utils.errors import UsageError

NAME = "split.npz"
KEYS = ("train", "retain", "forget", "val", "test")
HELD_OUT = "forget_test"  # test images of wholly forgotten classes: stored to look at the run, never read as a split
MOST = 1 << 30  # bytes of such a file, enough for 20 million images in all sets
SHOWN = 3  # indices that an error names


@dataclass(frozen=True, eq=False)
class GivenSplit:
    """What ``--split`` names: a file of index arrays, or a scheme that computes them.

    Attributes:
        typed: the flag's value.
        identity: what identifies the split in a run's configuration: a digest, or for a scheme the flag's value.
        sets: index arrays by name, int64 [M], of a file or of a scheme that needs no labels: always "train"; "retain"
            and "forget", both or neither; optionally "val"; "test" in every file, while schemes without it use all test
            images. All are ascending, but "val" is in the order given. Empty for a scheme that needs labels.
    """

    typed: str
    identity: str
    sets: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def forget(self) -> tuple[int, ...] | None:
        """Positions of the images to forget; None if the split does not say."""
        return tuple(self.sets["forget"].tolist()) if "forget" in self.sets else None

    def left_out(self, total: int) -> int:
        """How many of ``total`` training images are in none of the sets; 0 for a scheme that needs labels."""
        used = [self.sets[name] for name in ("train", "retain", "forget", "val") if name in self.sets]
        return total - len(np.unique(np.concatenate(used))) if used else 0

    def base(self, test_images: int) -> BaseSplit:
        """The split of these sets, for ``test_images`` test images. Raises UsageError: a test index out of range."""
        sets, pool, test = self.sets, None, self.sets.get("test")
        if test is not None:
            _check_range(f"--split {self.typed}", "test", test, test_images)
        if "forget" in sets:
            pool = BaseSplit(np.union1d(sets["retain"], sets["forget"]), sets.get("val"), test=test)
        return BaseSplit(sets["train"], sets.get("val"), None, sets.get("forget"), test, pool)


def read_split(text: str | None, total: int) -> GivenSplit | None:
    """What a value of ``--split`` names; None for the default scheme.

    Args:
        text: the value; None if it was not typed.
        total: number of images of the official training set.
    Raises:
        UsageError: no such file or scheme, or a file that holds no valid split.
    """
    if text is None or text == "seeds":
        return None
    path = Path(text).expanduser()
    if not path.exists() and re.fullmatch(r"[A-Za-z]\w*(:.*)?", text):
        name, _, argument = text.partition(":")
        computed = SCHEMES.get(name).sets  # an unknown name is refused before any image is read
        return GivenSplit(text, text, {} if computed is None else _computed(computed(argument, total)))
    flag = f"--split {text}"
    sets = _complete(flag, {name: _indices(flag, name, array) for name, array in _arrays(flag, path).items()})
    _check(flag, sets, total)
    return GivenSplit(text, digest(*(sets.get(name) for name in KEYS)), sets)


def _computed(sets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A scheme's sets in the form of a file's: sorted, with "train" added."""
    named = {name: array if name == "val" else np.sort(array) for name, array in sets.items()}
    return {"train": np.union1d(sets["retain"], sets["forget"]), **named}


def write(folder: Path, sets: Mapping[str, np.ndarray | None], mark: str) -> None:
    """Write the indices of a run's sets to ``split.npz`` in ``folder``; equal sets give equal bytes.

    Args:
        sets: index arrays by name, of ``KEYS`` and ``HELD_OUT``; None is left out.
        mark: the split's digest, as the run's result holds it.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(sets[name], np.int64) for name in KEYS if sets.get(name) is not None}
    if (forget_test := sets.get(HELD_OUT)) is not None and len(forget_test):
        arrays[HELD_OUT] = np.asarray(forget_test, np.int64)
    np.savez(buffer, **arrays, digest=np.array(mark))
    files.write_bytes(folder / NAME, buffer.getvalue())


def held_out(path: Path, total: int) -> np.ndarray:
    """Indices of test images of wholly forgotten classes, int64 ascending, from a file that ``write`` left.

    Older files hold none, which gives an empty array.

    Args:
        total: number of images of the official test set.
    Raises:
        UsageError: it is no such file, or an index is out of range.
    """
    arrays = _arrays(str(path), path, (HELD_OUT,))
    indices = _indices(str(path), HELD_OUT, arrays.get(HELD_OUT, np.zeros(0, np.int64)))
    _check_range(str(path), HELD_OUT, indices, total)
    return indices


def _arrays(flag: str, path: Path, names: Sequence[str] = KEYS) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, or of a folder of .npy files, that have these names."""
    if not path.is_dir():
        files.size_of(path, flag, "split", MOST)
    try:
        if path.is_dir():
            return {name: np.load(path / f"{name}.npy") for name in names if (path / f"{name}.npy").exists()}
        with np.load(path) as stored:
            if sum(member.file_size for member in stored.zip.infolist()) > MOST:
                raise ValueError(f"it unpacks to more than {MOST / 1e6:,.0f} MB")
            return {name: stored[name] for name in names if name in stored.files}
    except Exception as error:  # noqa: BLE001  (a damaged file can raise anything)
        raise UsageError(
            f"{flag}: is no .npz file and no folder of .npy files of index arrays "
            f"({str(error).partition('. ')[0][:120]}); "
            f"np.savez('{NAME}', train=..., forget=..., val=..., test=...) writes one"
        ) from None


def _indices(flag: str, name: str, array: np.ndarray) -> np.ndarray:
    """An index array as int64 [M], sorted but for "val"; UsageError if it is no list of different indices."""
    if array.dtype == bool:
        raise UsageError(f"{flag}: {name} is a mask; np.flatnonzero({name}) gives the indices")
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        reason = "it must be integers in one dimension"
        raise UsageError(f"{flag}: {name} is {array.dtype} of shape {array.shape}; {reason}")
    array = array.astype(np.int64)
    unique, times = np.unique(array, return_counts=True)
    if len(unique) < len(array):
        raise UsageError(f"{flag}: {name} has {unique[times > 1][0]} more than once; np.unique({name}) has it once")
    return array if name == "val" else unique


def _complete(flag: str, sets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add the sets that follow from the others; UsageError if "train" or "test" is missing then."""
    if "retain" in sets and "train" not in sets and "forget" in sets:
        sets["train"] = np.union1d(sets["retain"], sets["forget"])
    missing = [name for name in ("train", "test") if name not in sets]
    if missing:
        names = " and ".join(missing).replace("train", "train (or retain and forget)")
        raise UsageError(f"{flag}: lacks {names}; it has {', '.join(sets) or 'none of the sets'}")
    if "forget" in sets and "retain" not in sets:
        sets["retain"] = np.setdiff1d(sets["train"], sets["forget"])
    if "retain" in sets and "forget" not in sets:
        sets["forget"] = np.setdiff1d(sets["train"], sets["retain"])
    return sets


def _check(flag: str, sets: dict[str, np.ndarray], total: int) -> None:
    """Refuse sets that are empty, out of range or overlap."""
    for name, array in sets.items():
        if len(array) == 0:
            raise UsageError(f"{flag}: {name} is empty; leave it out, or put images in")
        if name != "test":
            _check_range(flag, name, array, total)
    for first, second in (("retain", "forget"), ("retain", "val"), ("forget", "val"), ("train", "val")):
        _check_none(flag, f"in {first} and in {second}", np.intersect1d(sets.get(first, []), sets.get(second, [])))
    for name in ("retain", "forget"):
        _check_none(flag, f"in {name} and not in train", np.setdiff1d(sets.get(name, []), sets["train"]))


def _check_range(flag: str, name: str, array: np.ndarray, total: int) -> None:
    images = "test" if name == "test" else "training"
    _check_none(flag, f"of {name} outside 0 to {total - 1}, the {images} images", array[(array < 0) | (array >= total)])


def _check_none(flag: str, fault: str, wrong: np.ndarray) -> None:
    if len(wrong):
        first = ", ".join(str(int(index)) for index in wrong[:SHOWN])
        raise UsageError(f"{flag}: {len(wrong):,} images are {fault} (first: {first}); each belongs to one set")
