"""Superclasses: the model learns these, while a scenario can forget one of the finer classes in them.

A data set, or ``--superclasses``, says which superclass each class of the data set belongs to. The model's classes are
then the superclasses, and the data set's own classes are called subclasses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import files
from utils.errors import UsageError, one_line
from utils.names import listed, nearest

if TYPE_CHECKING:
    import numpy as np
    import yaml

    from dataset.tree import Listing, Part

FOLDERS = "folders"  # the value of ``--superclasses`` if subclasses are folders in the class folders
MOST = 16 << 20  # largest file with superclasses, in bytes


@dataclass(frozen=True)
class Superclasses:
    """Which superclass each subclass belongs to.

    Attributes:
        names: names of the superclasses, in order of their numbers.
        superclass_of: for each subclass, in order of their numbers, the number of its superclass.
    """

    names: tuple[str, ...]
    superclass_of: tuple[int, ...]

    def labels(self, subclasses: np.ndarray) -> np.ndarray:
        """Numbers of superclasses, int64 [N], from numbers of subclasses, int64 [N]."""
        import numpy as np

        return np.asarray(self.superclass_of, dtype=np.int64)[subclasses]

    def summed(self, counts: list[int]) -> list[int]:
        """Counts by superclass from counts by subclass."""
        totals = [0] * len(self.names)
        for count, superclass in zip(counts, self.superclass_of):
            totals[superclass] += count
        return totals


@dataclass(frozen=True)
class Subclasses:
    """The subclass of every image.

    Attributes:
        names: names of the subclasses, in order of their numbers.
        train, test: subclasses of the official training and test images, int64 [N].
        superclass_of: for each subclass the number of its superclass.
    """

    names: tuple[str, ...]
    train: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    superclass_of: tuple[int, ...]


def read(text: str, classes: tuple[str, ...]) -> Superclasses:
    """The superclasses that a file names.

    It is a mapping in YAML or JSON, from each class to its superclass or from each superclass to a list of classes, or
    lines ``class,superclass``.

    Args:
        text: the value of ``--superclasses``.
        classes: names of the data set's classes, in order; each belongs to one superclass.
    Returns:
        The superclasses in alphabetical order.
    Raises:
        UsageError: an unreadable file, a class that is missing, unknown or named twice, or a single superclass.
    """
    flag = f"--superclasses {text}"
    by_class: dict[str, str] = {}
    for name, superclass in _pairs(files.read_text(Path(text).expanduser(), flag, max_bytes=MOST), flag):
        if name not in classes:
            raise UsageError(f"{flag}: names the class {one_line(name)}, which is unknown{nearest(name, classes)}")
        if name in by_class:
            raise UsageError(f"{flag}: class {name} is there twice, in {by_class[name]} and {one_line(superclass)}")
        if not superclass or not superclass.isprintable():
            raise UsageError(f"{flag}: the superclass of {name} must be a name, not {superclass!r}")
        by_class[name] = superclass
    lacking = [name for name in classes if name not in by_class]
    if lacking:
        raise UsageError(f"{flag}: has no superclass for {listed(lacking)}; each class needs one")
    names = tuple(sorted(set(by_class.values())))
    if len(names) < 2:
        raise UsageError(f"{flag}: all classes are in {names[0]}; a classifier needs two superclasses")
    return Superclasses(names, tuple(names.index(by_class[name]) for name in classes))


def recorded(entry: Mapping[str, Any] | None, classes: tuple[str, ...]) -> Superclasses | None:
    """The superclasses that a finished run has recorded, without the file that ``--superclasses`` named then.

    Args:
        entry: ``config.superclasses`` of the run: ``names`` of the superclasses in order, and ``subclasses``, the
            superclass of each subclass by name; None if the run has no superclasses.
        classes: names of the data set's classes as it is found now, in order.
    Returns:
        None if the run has no superclasses, or if ``classes`` are the superclasses already.
    Raises:
        UsageError: the run does not know one of ``classes``.
    """
    if entry is None or classes == tuple(entry["names"]):
        return None
    names, by_class = tuple(entry["names"]), entry["subclasses"]
    unknown = next((name for name in classes if name not in by_class), None)
    if unknown is not None:
        raise UsageError(
            f"class {unknown} is in no superclass that the run knows; name the folder of its data by --data"
        )
    return Superclasses(names, tuple(names.index(by_class[name]) for name in classes))


def _pairs(content: str, flag: str) -> Iterable[tuple[str, str]]:
    """Pairs of a class and its superclass, in the order of the file."""
    import yaml

    try:
        node = yaml.compose(content, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        node = None
    if isinstance(node, yaml.MappingNode):
        return _of_mapping(node, flag)
    lines = [line.strip() for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    pairs = [tuple(word.strip() for word in line.replace("\t", ",").split(",")) for line in lines]
    wrong = next((line for line, pair in zip(lines, pairs) if len(pair) != 2), None)
    if wrong is not None or not pairs:
        form = "lines CLASS,SUPERCLASS, or a mapping in YAML or JSON"
        raise UsageError(f"{flag}: must have {form}{'' if wrong is None else f', not {one_line(wrong)[:60]}'}")
    return [(pair[0], pair[1]) for pair in pairs]


def _of_mapping(mapping: yaml.MappingNode, flag: str) -> list[tuple[str, str]]:
    """Pairs of class and superclass from a mapping without YAML's conversions: 0 and no stay names, keys may repeat."""
    import yaml

    pairs: list[tuple[str, str]] = []
    for key, value in mapping.value:
        members = value.value if isinstance(value, yaml.SequenceNode) else []
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode):
            pairs.append((key.value, value.value))
        elif (
            isinstance(key, yaml.ScalarNode) and members and all(isinstance(item, yaml.ScalarNode) for item in members)
        ):
            pairs += [(item.value, key.value) for item in members]
        else:
            form = "a superclass for a class, or a list of classes for a superclass"
            raise UsageError(f"{flag}: {one_line(str(key.value))[:60]} must be followed by {form}")
    return pairs


def of_folders(listing: Listing, root: Path) -> tuple[Listing, Superclasses]:
    """Read a tree ``train/<superclass>/<subclass>/*`` as one of subclasses, called ``superclass/subclass``.

    The files keep their order, so positions of images do not change.

    Args:
        listing: the files of the tree by superclass.
        root: folder of the tree.
    Returns:
        The files by subclass, and the superclasses of these.
    Raises:
        UsageError: images beside the folders of subclasses, or a subclass without training images.
    """
    import numpy as np

    parts = [part for part in (listing.train, listing.test, listing.val) if part is not None]
    subclasses = [_subclasses_in(part, listing.classes, root) for part in parts]
    names = tuple(sorted(set(subclasses[0])))
    for unknown in sorted(set().union(*subclasses[1:]) - set(names)):
        raise UsageError(f"--superclasses {FOLDERS}: {unknown} has no training images below {root}")
    number = {name: place for place, name in enumerate(names)}
    train, test, *val = (
        (paths, np.array([number[name] for name in own], dtype=np.int64)) for (paths, _), own in zip(parts, subclasses)
    )
    superclasses = tuple(listing.classes.index(name.partition("/")[0]) for name in names)
    by_subclass = replace(listing, classes=names, train=train, test=test, val=val[0] if val else None)
    return by_subclass, Superclasses(listing.classes, superclasses)


def _subclasses_in(part: Part, classes: tuple[str, ...], root: Path) -> list[str]:
    """``superclass/subclass`` of every file, from its label and the folder below that of its class."""
    subclasses = []
    for path, label in zip(*(array.tolist() for array in part)):
        file = os.fsdecode(path)
        below_root = os.path.relpath(file, root).split(os.path.sep)
        if len(below_root) < 4:
            reason = f"expected train/<superclass>/<subclass>/*, and {file} lies beside the folders of subclasses"
            raise UsageError(f"--superclasses {FOLDERS}: {reason}")
        subclasses.append(f"{classes[label]}/{below_root[2]}")
    return subclasses
