"""Two sets in one training step, such as retain and forget images: a batch of each, or one mixed batch with marks."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from dataset.combined import Chain, union
from dataset.images import Images, Part
from utils import seeds

Two = tuple[Tensor, Tensor]


class Paired(Chain):
    """Two sets side by side: every step has a batch of each. Its length is that of the first.

    Args:
        first: in batches of the size that ``batches`` is given.
        second: in batches of ``size``.
        size: None for the size that ``batches`` is given.
        cycle: whether ``second`` begins again, with the same batches, until ``first`` ends. Otherwise the set with
            fewer batches ends both.
    """

    def __init__(self, first: Images, second: Images, size: int | None = None, cycle: bool = True):
        super().__init__(first, second)
        self._size, self._cycle = size, cycle

    def __len__(self) -> int:
        return len(self._sets[0])

    def sizes(self, size: int) -> list[int]:
        """A 1 for every pair of batches of ``size``.

        A pair counts as a single image, which ``utils.parallel`` does not divide: every process computes all of it.
        """
        pairs, others = (-(-len(images) // of) for images, of in zip(self._sets, (size, self._size or size)))
        return [1] * (pairs if self._cycle else min(pairs, others))

    def batches(self, size: int, seed: int | None = None, part: Part | None = None) -> Iterator[tuple[Two, Two]]:
        """Pairs of float images [B, C, H, W], and pairs of labels int64 [B], from ``first`` and ``second``.

        ``part`` is ignored: every process gets whole batches, since a loss may compare each image of one set with all
        images of the other.
        """
        for (images, labels), (others, other_labels) in zip(
            self._sets[0].batches(size, seed), self._seconds(self._size or size, seed)
        ):
            yield (images, others), (labels, other_labels)

    def _seconds(self, size: int, seed: int | None) -> Iterator[Two]:
        seed = None if seed is None else seeds.derive(seed, "second")
        yield from self._sets[1].batches(size, seed)
        while self._cycle:
            yield from self._sets[1].batches(size, seed)


class Marked(Chain):
    """Two sets as one, shuffled together; labels come as ``(classes, marks)``, marks True for images of ``second``.

    Args:
        first, second: sets that have no image in common.
        classes: number of classes.
    """

    def __init__(self, first: Images, second: Images, classes: int):
        super().__init__(union(first, second.relabelled(second.labels + classes)))
        self._classes = classes

    def batches(self, size: int, seed: int | None = None, part: Part | None = None) -> Iterator[tuple[Tensor, Two]]:
        """Float images [B, C, H, W] with classes, int64 [B], and marks, bool [B]; arguments of ``Images.batches``."""
        for images, coded in self._sets[0].batches(size, seed, part):
            yield images, (coded % self._classes, coded >= self._classes)
