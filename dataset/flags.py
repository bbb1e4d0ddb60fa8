"""Flags that say which images there are and which of them are forgotten. Imports no torch."""
from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset.names import NAMES
from dataset.scenario import Scenario
from utils import files
from utils.errors import UsageError
from utils.options import option

LISTED = 64 << 20  # bytes of a file that lists images


@dataclass(frozen=True)
class Data:
    dataset: str = option("cifar10", f"{', '.join(NAMES[:-1])}, or {NAMES[-1]} (any class-folder tree)", common="cifar10, cifar100, svhn, digits, folder, ...", metavar="NAME")
    data: str | None = option(None, "folder of the data set: torchvision's files or train/<class>/*, test/<class>/*; without it ./data and ../data are tried, then the set is downloaded to ./data (--data_dir is the same for TinyImagenet)", common="folder of the data set (./data or ../data)", metavar="DIR")
    input_size: int | None = option(None, "resize images to this side, in pixels; without it the data set's own, 224 for streamed images", low=8, high=1024)
    stream: bool = option(False, "with --dataset folder: read images from disk whenever they are needed, as --dataset imagenet does; for sets larger than memory")
    workers: int = option(4, "processes that read streamed images; no result depends on it (--num_workers is the same)", low=0)

    @property
    def streamed(self) -> bool:
        """Whether images stay on disk."""
        return self.stream or self.dataset == "imagenet"


@dataclass(frozen=True)
class Forget:
    class_to_replace: tuple[int, ...] = option((0,), "class to forget, or several with commas between; -1 draws from all classes", common="class to forget, or several; -1 is all", low=-1, metavar="C,C")
    num_indexes_to_replace: int | None = option(None, "how many images to forget; without it the whole class", common="how many images; the whole class", low=1)
    indexes_to_replace: str | None = option(None, "the very images to forget: positions in the training set, with commas between, or a .npy, .json or .txt file of them", metavar="LIST|FILE")
    forget: str | None = option(None, "the same in one word: class:C, class:C,C,C, class:C:N, random:N, random:0.1 or indices:FILE", common="class:C, class:C:N, random:0.1 or indices:FILE", metavar="WHAT")


def forgotten(forget: Forget, typed: dict[str, Any]) -> Scenario:
    """Which images are forgotten, from the flags and from which of them were typed.

    Raises:
        UsageError: two ways to say it are typed, or what is typed is no set of classes or positions.
    """
    ways = [f"--{name}" for name in ("forget", "indexes_to_replace") if name in typed]
    ways += ["--class_to_replace or --num_indexes_to_replace"] if {"class_to_replace", "num_indexes_to_replace"} & typed.keys() else []
    if len(ways) > 1:
        raise UsageError(f"{ways[0]} and {ways[1]} both say what to forget; give one")
    if forget.indexes_to_replace is not None:
        typed_as = f"--indexes_to_replace {forget.indexes_to_replace}"
        return Scenario(None, None, _indices(forget.indexes_to_replace, typed_as), typed_as)
    if forget.forget is not None:
        return _from_word(forget.forget)
    chosen = forget.class_to_replace
    if len(set(chosen)) < len(chosen) or not chosen or (-1 in chosen and len(chosen) > 1):
        raise UsageError(f"--class_to_replace {typed['class_to_replace']}: must be different classes, or -1 alone")
    labels = None if chosen == (-1,) else tuple(sorted(chosen))
    if labels is None and forget.num_indexes_to_replace is None:
        raise UsageError("--class_to_replace -1 draws from all classes and needs --num_indexes_to_replace N")
    return Scenario(labels, forget.num_indexes_to_replace)


def _from_word(word: str) -> Scenario:
    typed_as = f"--forget {word}"
    kind, _, rest = word.partition(":")
    try:
        if kind == "indices" and rest:
            return Scenario(None, None, _indices(rest, typed_as), typed_as)
        if kind == "random":
            count = float(rest) if "." in rest else int(rest)
            if (isinstance(count, float) and 0 < count < 1) or (isinstance(count, int) and count > 0):
                return Scenario(None, count, None, typed_as)
        if kind == "class":
            listed, _, number = rest.partition(":")
            labels = sorted(int(part) for part in listed.split(","))
            if labels[0] >= 0 and len(set(labels)) == len(labels) and (not number or int(number) > 0):
                return Scenario(tuple(labels), int(number) if number else None, None, typed_as)
    except ValueError:
        pass
    raise UsageError(f"--forget {word}: must be class:C, class:C,C, class:C:N, random:N, random:0.1 or indices:FILE")


def class_order(text: str | None) -> tuple[str, ...] | None:
    """Classes from a list with commas between or from a file, where a line ends one too."""
    if text is None:
        return None
    where = f"--removal_order {text}"
    listed = files.read_text(Path(text), where) if _is_path(text) else text
    return tuple(word.strip() for word in listed.replace("\n", ",").split(",") if word.strip())


def _is_path(text: str) -> bool:
    """Whether a list that can be typed or be a file is one; ``Path.exists`` fails on a long list."""
    return os.path.exists(text)


def _indices(text: str, typed_as: str) -> tuple[int, ...]:
    """Positions from a comma list or from a .npy, .json or .txt file."""
    path = Path(text)
    try:
        if path.suffix == ".npy":
            values = _array(files.read_bytes(path, typed_as, most=LISTED))
        elif path.suffix == ".json":
            values = files.read_json(path, typed_as, LISTED)
        else:
            values = (files.read_text(path, typed_as, most=LISTED) if _is_path(text) else text).replace(",", " ").split()
        if not isinstance(values, list) or any(isinstance(value, bool) for value in values):  # a mask is no list of positions
            raise ValueError("no list of numbers")
        numbers = tuple(int(value) for value in values)
        if any(float(value) != number for value, number in zip(values, numbers)):
            raise ValueError("not whole numbers")
    except (UsageError, ValueError, TypeError, EOFError, OverflowError, MemoryError) as error:
        said = str(error).removeprefix(f"{typed_as}: ")
        raise UsageError(f"{typed_as}: must be whole numbers with commas between, or a .npy, .json or .txt file of them ({said[:200]})") from None
    if not numbers or min(numbers) < 0 or max(numbers) >= 2**31:
        raise UsageError(f"{typed_as}: must name at least one image, by a position from 0 up")
    return numbers


def _array(content: bytes) -> list[Any]:
    """The members of a numpy array of one dimension or more; nothing larger than the file is made, whatever it declares."""
    from io import BytesIO

    import numpy as np

    file = BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"format {version} of a .npy file is not known")
    try:
        shape, _, kind = read(file)
    except Exception as error:  # noqa: BLE001  (it is read as Python's syntax, which can be wrong in many ways)
        raise ValueError(f"its header is damaged: {error}") from None
    if math.prod(shape) * kind.itemsize > len(content):
        raise ValueError("it declares more numbers than it has")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False).ravel().tolist()
