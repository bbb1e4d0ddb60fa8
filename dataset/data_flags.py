"""Flags that say which images there are and which of them are forgotten. Imports no torch."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataset import catalog, positions
from dataset.scenario import Scenario
from utils import files
from utils.errors import UsageError
from utils.options import file_option, option


@dataclass(frozen=True)
class Data:
    dataset: str = option(
        "cifar10",
        "cifar10, cifar20, cifar100, svhn, mnist, fashion_mnist, utkface, TinyImagenet, imagenet, digits, "
        "noisy_digits, latents (of main_generate.py encode), or folder (any class-folder tree)",
        common="cifar10, cifar100, svhn, digits, folder, ...",
        metavar="NAME",
    )
    data: str | None = file_option(
        "folder of the data set: torchvision's files or train/<class>/*, test/<class>/*; without it ./data and ../data "
        "are tried, then the set is downloaded to ./data (--data_dir is the same for TinyImagenet)",
        common="folder of the data set (./data or ../data)",
        metavar="DIR",
    )
    no_val: bool = option(False, "train on all training images, as --dataset NAME_no_val does", identity=False)
    input_size: int | None = option(
        None, "side in pixels that images are resized to; the data set's own, 224 if streamed", low=8, high=1024
    )
    stream: bool = option(
        False, "with --dataset folder: read images from disk whenever they are needed, for sets larger than memory"
    )
    split: str | None = file_option(
        "who trains, validates, is forgotten and tests: a split.npz that a run has left, any .npz or folder of .npy "
        "with train (or retain and forget), test and, where there are, retain, forget, val; or a scheme, NAME or "
        "NAME:ARGUMENT (seeds: by --seed and --split_seed; deepunlearn, lira:S:J: those of that benchmark)",
        common="a split.npz of another run or tool; by seeds",
        metavar="FILE|NAME",
    )
    superclasses: str | None = file_option(
        "the model learns superclasses: a file that says to which each class belongs (YAML, JSON, or lines "
        "CLASS,SUPERCLASS), or folders for train/<superclass>/<subclass>/*; --forget subclass:C takes a class",
        common="which superclass each class belongs to",
        metavar="FILE|folders",
    )
    workers: int = option(
        4, "processes that read streamed images, for speed alone (--num_workers is the same)", low=0, identity=False
    )

    @property
    def streamed(self) -> bool:
        """Whether images stay on disk."""
        return self.stream or catalog.get(self.dataset).streamed


@dataclass(frozen=True)
class Forget:
    class_to_replace: tuple[str, ...] = option(
        ("0",),
        "class to forget, by number or name, or several with commas between; -1 draws from all classes",
        common="class to forget, or several; -1 is all",
        metavar="C,C",
    )
    num_indexes_to_replace: int | None = option(
        None, "how many images to forget; without it the whole class", common="how many images; the whole class", low=1
    )
    indexes_to_replace: str | None = option(
        None,
        "the very images to forget: positions in the official training set, from 0, with commas between, or a file of "
        "them (.npy, .json, .txt, .pt, ...); or a mask of 0 and 1 over that set, or image files",
        metavar="LIST|FILE",
    )
    forget: str | None = option(
        None,
        "the same in one word: class:C, class:C,C,C, class:C:N, subclass:C (and so on), random:N, random:0.1 or "
        "indices:FILE",
        common="class:C, class:C:N, random:0.1 or indices:FILE",
        metavar="WHAT",
    )


def forgotten(forget: Forget, typed: dict[str, Any]) -> Scenario:
    """Which images are forgotten, from the flags' values and from the flags that were typed.

    Args:
        typed: values by name of the flags that were typed.
    Raises:
        UsageError: two flags that say what to forget were typed, or a value is no set of classes or positions.
    """
    choosing = [f"--{name}" for name in ("forget", "indexes_to_replace") if name in typed]
    if {"class_to_replace", "num_indexes_to_replace"} & typed.keys():
        choosing.append("--class_to_replace or --num_indexes_to_replace")
    if len(choosing) > 1:
        raise UsageError(f"{choosing[0]} and {choosing[1]} both say what to forget; give one")
    if forget.indexes_to_replace is not None:
        return _listed(forget.indexes_to_replace, f"--indexes_to_replace {forget.indexes_to_replace}")
    if forget.forget is not None:
        return _from_word(forget.forget)
    classes = forget.class_to_replace
    if len(set(classes)) < len(classes) or ("-1" in classes and len(classes) > 1):
        raise UsageError(f"--class_to_replace {typed['class_to_replace']}: must be different classes, or -1 alone")
    if classes == ("-1",):
        if forget.num_indexes_to_replace is None:
            raise UsageError("--class_to_replace -1 draws from all classes and needs --num_indexes_to_replace N")
        return Scenario(None, forget.num_indexes_to_replace)
    for word in classes:
        class_word(word, "--class_to_replace", -1)
    return replace(of_classes(classes, forget.num_indexes_to_replace), implied=not choosing)


def class_word(word: str, flag: str, low: int = 0) -> str:
    """``word``, a class by name or number, unchanged. Raises UsageError: a number below ``low``."""
    if re.fullmatch(r"-\d+", word):
        raise UsageError(f"{flag} {word}: must be at least {low}")
    return word


def of_classes(words: tuple[str, ...], count: int | None, typed_as: str | None = None) -> Scenario:
    """A scenario of some or all images of classes.

    Args:
        words: classes by name or number. Until ``Scenario.named`` looks up names, ``labels`` are the numbers only.
        count: how many images of these classes together; None for all.
        typed_as: flag and value, for errors.
    """
    numbers = tuple(sorted(int(word) for word in words if word.isdecimal()))
    return Scenario(numbers, count, None, typed_as, classes=words)


def _listed(text: str, typed_as: str) -> Scenario:
    flag = typed_as if len(typed_as) <= 120 else f"{typed_as[:100]}..."
    listed = positions.read(text, flag)
    return Scenario(None, None, listed.positions, flag, over=listed.over, files=listed.files)


def _from_word(word: str) -> Scenario:
    typed_as = f"--forget {word}"
    kind, _, argument = word.partition(":")
    if kind == "indices" and argument:
        return _listed(argument, typed_as)
    scenario = None
    with suppress(ValueError):  # what should be a number is none
        if kind == "random":
            scenario = _random(argument, typed_as)
        elif kind in ("class", "subclass"):
            scenario = _some_classes(argument, typed_as, kind == "subclass")
    if scenario is None:
        forms = "class:C, class:C,C, class:C:N, subclass:C (and so on), random:N, random:0.1 or indices:FILE"
        raise UsageError(f"{typed_as}: must be {forms}")
    return scenario


def _random(argument: str, typed_as: str) -> Scenario | None:
    """A scenario of a number, or a fraction in (0, 1), of all images; None if out of range. ValueError: no number."""
    count = float(argument) if "." in argument else int(argument)
    return Scenario(None, count, None, typed_as) if count > 0 and (isinstance(count, int) or count < 1) else None


def _some_classes(argument: str, typed_as: str, subclass: bool) -> Scenario | None:
    """A scenario from ``C,C`` or ``C,C:N``, classes and a number of images; None if it has neither form."""
    listed, _, number = argument.rpartition(":") if re.search(r":\d+$", argument) else (argument, "", "")
    classes, count = tuple(listed.split(",")), int(number) if number else None
    if listed.startswith("-") or not all(classes) or len(set(classes)) < len(classes) or count == 0:
        return None
    return replace(of_classes(classes, count, typed_as), subclass=subclass)


def class_order(text: str | None) -> tuple[str, ...] | None:
    """Classes, as typed, from a list with commas between, or from a file with commas or line ends between."""
    if text is None:
        return None
    flag = f"--removal_order {text}"
    path = os.path.expanduser(text)
    listed = files.read_text(Path(path), flag) if os.path.exists(path) else text  # Path.exists fails on a long list
    return tuple(word.strip() for word in listed.replace("\n", ",").split(",") if word.strip())
