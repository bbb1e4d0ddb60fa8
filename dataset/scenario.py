"""What is to be forgotten, in numbers and in words."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal

from utils.errors import UsageError
from utils.names import lookup

Kind = Literal["class", "classes", "part of a class", "random", "indices"]


@dataclass(frozen=True)
class Scenario:
    """A choice of training images to forget.

    Attributes:
        labels: the classes to forget, or None to draw from all classes.
        count: how many images of these classes together (an int), which fraction of them (a float
            in (0, 1)), or None for all.
        indices: positions in the official training set; then ``labels`` and ``count`` are None.
        typed: flag and value as the user gave them, for errors.
    """

    labels: tuple[int, ...] | None = (0,)
    count: int | float | None = None
    indices: tuple[int, ...] | None = None
    typed: str | None = field(default=None, compare=False)

    def resolve(self, counts: list[int]) -> Scenario:
        """The same scenario with its count as an int, checked against the data.

        Args:
            counts: training images of each class, validation images already taken off.
        Raises:
            UsageError: no such class, too many images, or nothing left to forget or to retain.
        """
        if self.indices is not None:
            return self
        named = None if self.labels is None else ",".join(map(str, self.labels))
        if self.labels is not None and max(self.labels) >= len(counts):
            whose = self.typed or f"--class_to_replace {named}"
            raise UsageError(f"{whose}: the classes are 0 to {len(counts) - 1} (-1 draws from all)")
        available = sum(counts) if self.labels is None else sum(counts[label] for label in self.labels)
        count = round(self.count * available) if isinstance(self.count, float) else self.count
        amount = available if count is None else count
        said = self.typed or (f"--class_to_replace {named}" if count is None else f"--num_indexes_to_replace {count}")
        if amount > available:
            whose = "the training set has" if self.labels is None else f"class {named} has" if len(self.labels) == 1 else f"classes {named} have"
            raise UsageError(f"{said}: {whose} {available} training images")
        if amount == 0:
            raise UsageError(f"{said}: nothing to forget")
        if amount == sum(counts):
            raise UsageError(f"{said}: would leave none of the {available} training images to retain")
        return replace(self, count=count)

    def kind(self, whole_classes: int) -> Kind:
        """The scenario's name in tables; ``whole_classes`` is the number of classes that are forgotten whole."""
        if whole_classes:
            return "class" if whole_classes == 1 else "classes"
        if self.indices is not None:
            return "indices"
        return "random" if self.labels is None else "part of a class"

    def facts(self) -> dict[str, object]:
        """Plain data that names the choice; listed indices by their number and digest."""
        if self.indices is None:
            several = self.labels is not None and len(self.labels) > 1
            return {"class": list(self.labels) if several else self.labels and self.labels[0], "count": self.count}
        listed = hashlib.sha256(",".join(map(str, sorted(set(self.indices)))).encode()).hexdigest()[:16]
        return {"indices": len(set(self.indices)), "indices_digest": listed}

    def words(self, forgotten: int, train: int, size: int | None, names: list[str]) -> str:
        """One phrase for the header: what is forgotten, in words and numbers.

        Args:
            forgotten, train: images to forget, and training images in all.
            size: training images of the scenario's classes together, if it names classes.
            names: all classes, in order.
        """
        share = f"{100 * forgotten / train:.1f} % of {train:,}"
        if self.indices is not None:
            return f"{forgotten:,} listed training images ({share})"
        if self.labels is None:
            return f"{forgotten:,} training images drawn at random from all classes ({share})"
        listed = ", ".join(f"{label} ({names[label]})" for label in self.labels)
        name = f"class {listed}" if len(self.labels) == 1 else f"classes {listed}"
        if forgotten == size:
            return f"all {forgotten:,} training images of {name} ({share})"
        return f"{forgotten:,} of the {size:,} training images of {name}, drawn at random ({share})"


def numbers(classes: tuple[str, ...], names: tuple[str, ...], flag: str) -> tuple[int, ...]:
    """The numbers of classes that were typed by name or number; what is both is a name.

    Args:
        names: all classes, in order.
        flag: for errors.
    Raises:
        UsageError: a class that does not exist, or one given twice.
    """
    found: list[int] = []
    for typed in classes:
        if typed.isdecimal() and typed not in names and int(typed) >= len(names):
            raise UsageError(f"{flag} {typed}: the classes are 0 to {len(names) - 1}")
        number = int(typed) if typed.isdecimal() and typed not in names else names.index(lookup(typed, names, flag))
        if number in found:
            raise UsageError(f"{flag} {typed}: class {number} ({names[number]}) is there twice")
        found.append(number)
    return tuple(found)
