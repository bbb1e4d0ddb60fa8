"""What is to be forgotten, in numbers and in words."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal

from utils.errors import UsageError

Kind = Literal["class", "part of a class", "random", "indices"]


@dataclass(frozen=True)
class Scenario:
    """A choice of training images to forget.

    Attributes:
        label: the class to forget, or None to draw from all classes.
        count: how many images (an int), which fraction of the candidates (a float in (0, 1)),
            or None for the whole class.
        indices: positions in the official training set; then ``label`` and ``count`` are None.
        typed: flag and value as the user gave them, for errors.
    """

    label: int | None = 0
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
        if self.label is not None and self.label >= len(counts):
            whose = self.typed or f"--class_to_replace {self.label}"
            raise UsageError(f"{whose}: the classes are 0 to {len(counts) - 1} (-1 draws from all)")
        available = sum(counts) if self.label is None else counts[self.label]
        count = round(self.count * available) if isinstance(self.count, float) else self.count
        amount = available if count is None else count
        said = self.typed or (f"--class_to_replace {self.label}" if count is None else f"--num_indexes_to_replace {count}")
        if amount > available:
            whose = "the training set" if self.label is None else f"class {self.label}"
            raise UsageError(f"{said}: {whose} has {available} training images")
        if amount == 0:
            raise UsageError(f"{said}: nothing to forget")
        if amount == sum(counts):
            raise UsageError(f"{said}: would leave none of the {available} training images to retain")
        return replace(self, count=count)

    def kind(self, whole_class: bool) -> Kind:
        """The scenario's name in tables; ``whole_class`` says whether all of one class is forgotten."""
        if whole_class:
            return "class"
        if self.indices is not None:
            return "indices"
        return "random" if self.label is None else "part of a class"

    def facts(self) -> dict[str, object]:
        """Plain data that names the choice; listed indices by their number and digest."""
        if self.indices is None:
            return {"class": self.label, "count": self.count}
        listed = hashlib.sha256(",".join(map(str, sorted(set(self.indices)))).encode()).hexdigest()[:16]
        return {"indices": len(set(self.indices)), "indices_digest": listed}

    def words(self, forgotten: int, train: int, class_size: int | None, class_name: str | None) -> str:
        """One phrase for the header: what is forgotten, in words and numbers.

        Args:
            forgotten, train: images to forget, and training images in all.
            class_size, class_name: of the class, if it is one.
        """
        share = f"{100 * forgotten / train:.1f} % of {train:,}"
        if self.indices is not None:
            return f"{forgotten:,} listed training images ({share})"
        if self.label is None:
            return f"{forgotten:,} training images drawn at random from all classes ({share})"
        name = f"class {self.label} ({class_name})"
        if forgotten == class_size:
            return f"all {forgotten:,} training images of {name} ({share})"
        return f"{forgotten:,} of the {class_size:,} training images of {name}, drawn at random ({share})"
