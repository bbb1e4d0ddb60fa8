"""Splits as index arrays: which images are for training, validation and test, and which are forgotten.

The draws are those of the reference implementation (legacy numpy generators), so a seed names the same images in both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dataset.scenario import Scenario
from utils.errors import UsageError
from utils.plugins import Registry

if TYPE_CHECKING:
    from dataset.superclasses import Subclasses

VALIDATION_FRACTION = 0.1


@dataclass(frozen=True)
class BaseSplit:
    """Training and validation indices, int64, into the official training set.

    Attributes:
        train: ascending.
        val: class by class in the order drawn; None if the data set's own validation images or its test images are
            used.
        seed: the split seed; None if the split does not depend on one.
        forget: ascending; None if the split does not say which images are forgotten.
        test: int64 indices into the test set; None for all of it.
        pool: the split that retain and forget images come from; None for this split.
    """

    train: np.ndarray
    val: np.ndarray | None
    seed: int | None = None
    forget: np.ndarray | None = None
    test: np.ndarray | None = None
    pool: BaseSplit | None = None

    @property
    def forget_split(self) -> BaseSplit:
        """The split that retain and forget images come from."""
        return self.pool or self

    def sets(self, test_images: int) -> dict[str, np.ndarray | None]:
        """The arrays "train", "forget", "val" and "test", for a data set with ``test_images`` test images."""
        test = np.arange(test_images) if self.test is None else self.test
        return {"train": self.train, "forget": self.forget, "val": self.val, "test": test}

    @property
    def words(self) -> str:
        """Seed and digest, for the header."""
        return f"digest {self.digest}" if self.seed is None else f"seed {self.seed}, digest {self.digest}"

    @property
    def digest(self) -> str:
        """16 hex digits over training and validation indices; stored in every checkpoint trained on this split."""
        return digest(self.train, self.val)


@dataclass(frozen=True)
class Split:
    """Images to retain, to forget and to score on; int64 indices, ascending but for ``val``.

    Attributes:
        train: indices into the official training set of the images that the model to unlearn was trained on.
        retain, forget: indices into the official training set; disjoint.
        val: indices into the official training set; None if the data set's own validation images or its test images
            are used.
        test: indices into the test set, without classes and subclasses that are forgotten whole.
        whole_classes: numbers of the classes that are forgotten whole, ascending.
        base_digest: digest of ``train`` and ``val``.
        whole_subclasses: numbers of the subclasses that are forgotten whole, ascending; empty if the scenario does not
            name subclasses.
        forget_test: indices into the test set of classes and subclasses that are forgotten whole.
    """

    train: np.ndarray
    retain: np.ndarray
    forget: np.ndarray
    val: np.ndarray | None
    test: np.ndarray
    whole_classes: tuple[int, ...]
    base_digest: str
    whole_subclasses: tuple[int, ...] = ()
    forget_test: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def digest(self) -> str:
        """16 hex digits over retain, forget, validation and test indices."""
        return digest(self.retain, self.forget, self.val, self.test)

    def count(self, labels: np.ndarray, classes: tuple[int, ...] | None) -> int | None:
        """How many retain and forget images are of ``classes``; None if these are None.

        Args:
            labels: labels of the official training set, int64 [N].
        """
        labels = labels[np.concatenate([self.retain, self.forget])]
        return None if classes is None else int(np.isin(labels, classes).sum())


def digest(*indices: np.ndarray | None) -> str:
    """First 16 hex digits of SHA-256 over the arrays' lengths and little-endian int64 bytes."""
    state = hashlib.sha256()
    for array in indices:
        content = b"" if array is None else np.asarray(array, dtype="<i8").tobytes()
        state.update(len(content).to_bytes(8, "little") + content)
    return state.hexdigest()[:16]


def split_base(labels: np.ndarray, seed: int, with_validation: bool = True) -> BaseSplit:
    """The split with a tenth of every class, drawn at random and rounded down, for validation.

    Args:
        labels: labels of the official training set in file order, int64 [N].
        seed: the split seed; any int, taken modulo 2**32.
        with_validation: False trains on all images.
    """
    if not with_validation:
        return everything(len(labels), seed)
    random = np.random.RandomState(seed % 2**32)
    drawn = []
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        drawn.append(random.choice(members, int(VALIDATION_FRACTION * len(members)), replace=False))
    val = np.concatenate(drawn).astype(np.int64)
    return BaseSplit(np.setdiff1d(np.arange(len(labels), dtype=np.int64), val), val, seed)


def everything(count: int, seed: int = 0) -> BaseSplit:
    """The split in which all ``count`` images of the official training set are training images."""
    return BaseSplit(np.arange(count, dtype=np.int64), None, seed)


def train_counts(official: list[int], with_validation: bool) -> list[int]:
    """Number of training images per class after ``split_base``, from the official numbers per class."""
    return [n - int(VALIDATION_FRACTION * n) if with_validation else n for n in official]


def choose_forget(labels: np.ndarray, train: np.ndarray, scenario: Scenario, seed: int) -> np.ndarray:
    """Indices to forget, ascending: a subset of ``train``.

    Args:
        labels: labels of the official training set, int64 [N].
        train: indices of the candidates, int64, ascending.
        scenario: what to forget, in numbers (see ``prepare.DatasetInfo.resolve``).
        seed: ``--seed``; the draw uses ``seed - 1`` modulo 2**32, as the reference does.
    Raises:
        UsageError: a listed index is not among the training images, or there are too few candidates.
    """
    if scenario.indices is not None:
        listed = np.unique(np.asarray(scenario.indices, dtype=np.int64))
        outside = np.setdiff1d(listed, train)
        if outside.size:
            hint = (
                "they are in the validation part of this split, which no model trains on: list training images only, "
                "or train the model and unlearn it with --no_val (for CIFAR also --dataset cifar10_no_val), where "
                "all images train"
            )
            if outside[0] < 0 or outside[-1] >= len(labels):
                hint = f"positions go from 0 to {len(labels) - 1}"
            reason = f"{outside.size:,} of {listed.size:,} are not training images (first: {outside[0]}); {hint}"
            raise UsageError(f"{scenario.typed or '--indexes_to_replace'}: {reason}")
        return listed
    candidates = train if scenario.labels is None else train[np.isin(labels[train], scenario.labels)]
    if scenario.count is None:
        return candidates
    if scenario.count > len(candidates):  # the counts of a split that is a file are not known before the labels
        flag = scenario.typed or f"--num_indexes_to_replace {scenario.count}"
        raise UsageError(f"{flag}: the split has {len(candidates):,} such training images")
    random = np.random.RandomState((seed - 1) % 2**32)
    return np.sort(random.choice(candidates, int(scenario.count), replace=False))


def split_for_unlearning(
    train_labels: np.ndarray,
    test_labels: np.ndarray,
    base: BaseSplit,
    scenario: Scenario,
    seed: int,
    subclasses: Subclasses | None = None,
) -> Split:
    """Divide the training part into retain and forget, and drop wholly forgotten classes from the test set.

    If the scenario names subclasses, those that are forgotten whole are dropped too. If ``base`` itself says which
    images are forgotten, its test images stay as they are.

    Args:
        train_labels, test_labels: labels of the official training and test sets, int64.
        base: the split that the model was trained on.
        scenario: what to forget, in numbers.
        seed: ``--seed``, see ``choose_forget``.
        subclasses: subclasses of the same images, read if the scenario names subclasses.
    Raises:
        UsageError: nothing is left to retain or to test, or ``base`` and ``scenario`` name different images.
    """
    pool = base.forget_split.train
    subclasses = subclasses if scenario.subclass else None
    forget = choose_forget(train_labels if subclasses is None else subclasses.train, pool, scenario, seed)
    if base.forget is not None and not np.array_equal(forget, base.forget):
        reason = f"forget than --split ({len(forget):,} and {len(base.forget):,}); leave one of the two out"
        raise UsageError(f"{scenario.typed or '--class_to_replace'}: names other images to {reason}")
    retain = np.setdiff1d(pool, forget, assume_unique=True)
    if retain.size == 0:
        raise UsageError("nothing is left to retain")
    test = np.arange(len(test_labels), dtype=np.int64) if base.test is None else base.test
    whole_classes = tuple(np.setdiff1d(train_labels[forget], train_labels[retain]).tolist())
    whole_subclasses: tuple[int, ...] = ()
    gone = np.isin(test_labels[test], whole_classes)
    if subclasses is not None:
        whole_subclasses = tuple(np.setdiff1d(subclasses.train[forget], subclasses.train[retain]).tolist())
        gone |= np.isin(subclasses.test[test], whole_subclasses)
    kept_test = test[~gone] if base.forget is None else test
    if kept_test.size == 0:
        raise UsageError("no test image is left: the forgotten classes are all that the test set has")
    sets = base.train, retain, forget, base.val, kept_test
    return Split(*sets, whole_classes, base.digest, whole_subclasses, test[gone])


@dataclass(frozen=True)
class Draw:
    """What a split scheme may depend on.

    Attributes:
        argument: what was typed after the scheme's name and a colon.
        labels, test_labels: labels of the official training and test sets, int64 [N]; subclasses if there are any.
        with_validation: whether training images are to be set apart for validation.
        seed, split_seed, compat: the values of the flags of these names.
    """

    argument: str
    labels: np.ndarray
    test_labels: np.ndarray
    with_validation: bool
    seed: int
    split_seed: int | None
    compat: str


Divide = Callable[[Draw], BaseSplit]
Sets = Callable[[str, int], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Scheme:
    """How ``--split NAME`` divides a data set; exactly one attribute is not None.

    Attributes:
        divide: maps a ``Draw``, which includes labels, to the split.
        sets: maps the argument and the number of training images to int64 index arrays by name, like a file for
            ``--split``: "retain", "forget" and optionally "val" and "test". It is called before any image is read.
    """

    divide: Divide | None = None
    sets: Sets | None = None


SCHEMES: Registry[Scheme] = Registry(
    "--split", "split scheme", "dataset.schemes", "unlearn_sparse.splits", forms=("FILE",)
)


def scheme(name: str) -> Callable[[Divide], Divide]:
    """Decorator that registers a function as the scheme of ``--split NAME`` and ``--split NAME:ARGUMENT``.

    Raises ValueError: the name is taken.
    """

    def register(divide: Divide) -> Divide:
        SCHEMES.add(name, Scheme(divide))
        return divide

    return register


def scheme_by_count(name: str) -> Callable[[Sets], Sets]:
    """Decorator that registers a function without need for labels as a scheme, see ``scheme`` and ``Scheme.sets``.

    Raises ValueError: the name is taken.
    """

    def register(sets: Sets) -> Sets:
        SCHEMES.add(name, Scheme(sets=sets))
        return sets

    return register
