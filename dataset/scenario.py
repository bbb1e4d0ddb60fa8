"""What is to be forgotten, in numbers and in words."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass
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
    """

    label: int | None = 0
    count: int | float | None = None
    indices: tuple[int, ...] | None = None

    def resolve(self, counts: list[int], flag: str = "--class_to_replace") -> "Scenario":
        """The same scenario with its count as an int, checked against the data.

        Args:
            counts: training images of each class, validation images already taken off.
            flag: the flag to name in an error.
        Raises:
            UsageError: no such class, too many images, or nothing left to retain.
        """
        if self.indices is not None:
            return self
        if self.label is not None and self.label >= len(counts):
            raise UsageError(f"{flag} {self.label}: the classes are 0 to {len(counts) - 1} (-1 draws from all)")
        available = sum(counts) if self.label is None else counts[self.label]
        count = self.count
        if isinstance(count, float):
            count = round(count * available)
        if count is not None and count > available:
            whose = "the training set" if self.label is None else f"class {self.label}"
            raise UsageError(f"--num_indexes_to_replace {count}: {whose} has {available} training images")
        if count == 0 or available == 0:
            raise UsageError(f"{flag}: nothing to forget")
        if (available if count is None else count) == sum(counts):
            raise UsageError(f"--num_indexes_to_replace {available}: would leave none of the {available} training images to retain")
        return Scenario(self.label, count)

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
