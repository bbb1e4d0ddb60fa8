"""The choice of images to forget."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dataset import positions
from utils.errors import UsageError
from utils.names import lookup

if TYPE_CHECKING:
    import numpy as np

KINDS = ("class", "classes", "part of a class", "subclass", "subclasses", "part of a subclass", "random", "indices")


@dataclass(frozen=True)
class Scenario:
    """A choice of training images to forget.

    Attributes:
        labels: the classes to forget, or None to draw from all classes.
        count: how many images of these classes together (an int), which fraction of them (a float
            in (0, 1)), or None for all.
        indices: positions in the official training set; then ``labels`` and ``count`` are None.
        typed: flag and value as the user gave them, for errors.
        classes: names or numbers of classes as typed, which ``named`` turns into ``labels``.
        over: length of the mask whose ones are ``indices``; None if these were not given as a mask.
        files: names of image files, which ``placed`` turns into ``indices``.
        implied: whether this is the default, as no flag says what to forget.
        subclass: whether ``labels`` and ``classes`` are subclasses, of which a class of the model has several.
    """

    labels: tuple[int, ...] | None = (0,)
    count: int | float | None = None
    indices: tuple[int, ...] | None = None
    typed: str | None = field(default=None, compare=False)
    classes: tuple[str, ...] | None = field(default=None, compare=False)
    over: int | None = field(default=None, compare=False)
    files: tuple[str, ...] | None = field(default=None, compare=False)
    implied: bool = field(default=False, compare=False)
    subclass: bool = False

    @property
    def _noun(self) -> str:
        return "subclass" if self.subclass else "class"

    def named(self, names: tuple[str, ...]) -> Scenario:
        """This scenario with ``classes`` replaced by ``labels``.

        Args:
            names: names of all classes, in order.
        Raises:
            UsageError: no such class, or one given twice.
        """
        if self.classes is None:
            return self
        flag = (self.typed or "--class_to_replace").split()[0]
        if all(word.isdecimal() and (word not in names or names.index(word) == int(word)) for word in self.classes):
            return replace(self, labels=tuple(sorted(map(int, self.classes))), classes=None)
        return replace(self, labels=tuple(sorted(numbers(self.classes, names, flag))), classes=None)

    def placed(self, total: int, paths: np.ndarray | None) -> Scenario:
        """This scenario with ``files`` replaced by ``indices``, and masks and positions checked.

        Args:
            total: number of images of the official training set.
            paths: their files, bytes [total]; None if they are not stored as image files.
        Raises:
            UsageError: a mask of another length, a position beyond the end, or a file that is no training image.
        """
        flag = self.typed or "--indexes_to_replace"
        if self.files is not None:
            if paths is None:
                why = "give positions in its training set, from 0"
                raise UsageError(f"{flag}: names image files, and this data set is not read from files; {why}")
            return replace(self, indices=positions.of_files(self.files, paths, flag), files=None)
        if self.indices is None:
            return self
        if self.over not in (None, total):
            why = f"has one for each of the {total:,} images of the official training set, those that validate included"
            raise UsageError(f"{flag}: is a mask of {self.over:,} zeros and ones; a mask {why}")
        if not self.indices:
            raise UsageError(f"{flag}: is a mask without a one; nothing to forget")
        beyond = [index for index in self.indices if index >= total]
        if beyond:
            from_one = min(self.indices) > 0 and max(self.indices) == total
            reason = f"(first: {beyond[0]}); they go from 0 to {total - 1}, images that validate included"
            reason += "; it seems to count from 1: take 1 off each" if from_one else ""
            shares = f"{len(beyond):,} of {len(self.indices):,} positions"
            raise UsageError(f"{flag}: {shares} are beyond the official training set {reason}")
        return self

    def resolve(self, counts: list[int], total: int | None = None) -> Scenario:
        """This scenario with an int or None as its count, checked against the data.

        Args:
            counts: number of training images of each class, without validation images.
            total: number of training images, if a split leaves fewer than ``counts`` adds up to; None for this sum.
        Raises:
            UsageError: no such class, too many images, or nothing left to forget or to retain.
        """
        if self.indices is not None:
            return self
        named = None if self.labels is None else ",".join(map(str, self.labels))
        if self.labels is not None and max(self.labels) >= len(counts):
            flag = self.typed or f"--class_to_replace {named}"
            raise UsageError(f"{flag}: the {self._noun}es are 0 to {len(counts) - 1} (-1 draws from all)")
        total = sum(counts) if total is None else total
        available = total if self.labels is None else sum(counts[label] for label in self.labels)
        count = round(self.count * available) if isinstance(self.count, float) else self.count
        amount = available if count is None else count
        flag = self.typed or (f"--class_to_replace {named}" if count is None else f"--num_indexes_to_replace {count}")
        if amount > available:
            owner = "the training set has"
            if self.labels is not None:
                owner = f"{self._noun} {named} has" if len(self.labels) == 1 else f"{self._noun}es {named} have"
            raise UsageError(f"{flag}: {owner} {available} training images")
        if amount == 0:
            raise UsageError(f"{flag}: nothing to forget")
        if amount == total:
            raise UsageError(f"{flag}: would leave none of the {available} training images to retain")
        return replace(self, count=count)

    def takes_all(self, counts: list[int] | None) -> bool | None:
        """Whether every image of its classes is forgotten, by a count or without; None if this is not known yet.

        Args:
            counts: number of training images of each class; None if they are not known before labels are read.
        """
        if self.labels is None:
            return None if self.indices is not None else False
        if self.count is None:
            return True
        if counts is None:
            return None
        return self.count == sum(counts[label] for label in self.labels)

    def kind(self, whole_classes: int) -> str:
        """The scenario's name in tables, one of ``KINDS``.

        Args:
            whole_classes: how many classes, or subclasses if the scenario names these, are forgotten whole.
        """
        if whole_classes:
            return self._noun if whole_classes == 1 else f"{self._noun}es"
        if self.indices is not None:
            return "indices"
        return "random" if self.labels is None else f"part of a {self._noun}"

    def facts(self) -> dict[str, object]:
        """The choice as plain data; listed indices are given by their number and digest."""
        if self.indices is None:
            labels = list(self.labels or [None])
            return {self._noun: labels if len(labels) > 1 else labels[0], "count": self.count}
        listed = hashlib.sha256(",".join(map(str, sorted(set(self.indices)))).encode()).hexdigest()[:16]
        return {"indices": len(set(self.indices)), "indices_digest": listed}

    def words(self, forgotten: int | None, train: int, size: int | None, names: list[str]) -> str:
        """One phrase for the header: what is forgotten, in words and numbers.

        Args:
            forgotten: number of images to forget; None for all of classes whose size is not known yet.
            train: number of training images.
            size: number of training images of the scenario's classes together; None if it names no classes, or if it is
                not known yet.
            names: names of all classes, or of all subclasses if the scenario names these, in order.
        """
        listed = ", ".join(f"{label} ({names[label]})" for label in self.labels or ())
        name = f"{self._noun} {listed}" if len(self.labels or ()) == 1 else f"{self._noun}es {listed}"
        if forgotten is None:
            return f"all training images of {name}"
        share = f"{100 * forgotten / train:.1f} % of {train:,}"
        if self.indices is not None:
            mask = "" if self.over is None else f", from a mask over {self.over:,}"
            return f"{forgotten:,} listed training images ({share}){mask}"
        if self.labels is None:
            return f"{forgotten:,} training images drawn at random from all classes ({share})"
        if forgotten == size:
            return f"all {forgotten:,} training images of {name} ({share})"
        of_all = "" if size is None else f" of the {size:,}"
        return f"{forgotten:,}{of_all} training images of {name}, drawn at random ({share})"


def numbers(classes: tuple[str, ...], names: tuple[str, ...], flag: str) -> tuple[int, ...]:
    """The numbers of classes that were typed by name or number.

    Args:
        classes: names or numbers as typed.
        names: names of all classes, in order.
        flag: the flag's name, for errors.
    Raises:
        UsageError: a class that does not exist, one given twice, or a word that is the number of one class and the
            name of another.
    """
    chosen: list[int] = []
    for typed in classes:
        number = number_of(typed, names, flag)
        if number in chosen:
            raise UsageError(f"{flag} {typed}: class {number} ({names[number]}) is there twice")
        chosen.append(number)
    return tuple(chosen)


def number_of(typed: str, names: tuple[str, ...], flag: str) -> int:
    """The number of a class that was typed by number, by name in any capitals, or as its folder, ``train/NAME``.

    Args:
        names: names of all classes, in order.
        flag: the flag's name, for errors.
    Raises:
        UsageError: no such class, or a word that is the number of one class and the name of another.
    """
    number = int(typed) if typed.isdecimal() else None
    if typed in names:
        named = names.index(typed)
        if number is not None and number < len(names) and number != named:
            reason = f"class {typed} is called {names[number]}; give the folder, train/{typed} or train/{names[number]}"
            raise UsageError(f"{flag} {typed}: class {named} is called {typed}, and {reason}")
        return named
    if number is not None:
        if number >= len(names):
            raise UsageError(f"{flag} {typed}: the classes are 0 to {len(names) - 1}")
        return number
    name = typed.removeprefix("train/").rstrip("/")
    alike = [known for known in names if known.lower() == name.lower()]
    return names.index(alike[0] if len(alike) == 1 else lookup(name, names, flag))
