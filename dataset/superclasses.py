"""Superclasses: a model learns these, and what is forgotten can be one of the finer classes in them.

A data set says which superclass each of its classes belongs to, or ``--superclasses`` does. Its classes are then the
superclasses, and what it calls classes are subclasses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import files
from utils.errors import UsageError, one_line
from utils.names import nearest

if TYPE_CHECKING:
    import numpy as np
    import yaml

    from dataset.tree import Listing, Part

FOLDERS = "folders"  # what ``--superclasses`` is called where subclasses are folders in the class folders
MOST = 16 << 20  # bytes of a file that says which superclass a class belongs to


@dataclass(frozen=True)
class Superclasses:
    """What belongs to what.

    Attributes:
        names: of the superclasses, in order of their numbers.
        of: the number of every subclass's superclass, in order of the subclasses.
    """

    names: tuple[str, ...]
    of: tuple[int, ...]

    def labels(self, subclasses: np.ndarray) -> np.ndarray:
        """Numbers of superclasses, int64 [N], from those of subclasses."""
        import numpy as np

        return np.asarray(self.of, dtype=np.int64)[subclasses]

    def summed(self, counts: list[int]) -> list[int]:
        """Counts by superclass from counts by subclass."""
        return [sum(n for n, own in zip(counts, self.of) if own == each) for each in range(len(self.names))]


@dataclass(frozen=True)
class Subclasses:
    """The subclass of every image.

    Attributes:
        names: in order of their numbers.
        train, test: int64 [N], of the official training and test images.
        of: the number of every subclass's superclass.
    """

    names: tuple[str, ...]
    train: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    of: tuple[int, ...]


def read(text: str, classes: tuple[str, ...]) -> Superclasses:
    """The superclasses that a file names.

    It is a mapping in YAML or JSON, from each class to its superclass or from each superclass to a list of classes, or
    lines ``class,superclass``.

    Args:
        text: the value of ``--superclasses``.
        classes: of the data set, in order; each belongs to one superclass.
    Returns:
        The superclasses in alphabetical order.
    Raises:
        UsageError: an unreadable file, a class that it lacks, names twice or that there is not, or one superclass only.
    """
    where = f"--superclasses {text}"
    found: dict[str, str] = {}
    for name, above in _pairs(files.read_text(Path(text).expanduser(), where, max_bytes=MOST), where):
        if name not in classes:
            raise UsageError(f"{where}: names the class {one_line(name)}, which is unknown{nearest(name, classes)}")
        if name in found:
            raise UsageError(f"{where}: class {name} is there twice, in {found[name]} and {one_line(above)}")
        if not above or not above.isprintable():
            raise UsageError(f"{where}: the superclass of {name} must be a name, not {above!r}")
        found[name] = above
    lacking = [name for name in classes if name not in found]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise UsageError(f"{where}: has no superclass for {', '.join(lacking[:3])}{more}; each class needs one")
    return _numbered([found[name] for name in classes], where)


def recorded(entry: Mapping[str, Any] | None, classes: tuple[str, ...]) -> Superclasses | None:
    """The superclasses that a run's ``config.superclasses`` names; None where it has none, or they are the classes.

    The file that said so need not be there any more.

    Args:
        entry: ``names``, in order, and by subclass the superclass (``subclasses``).
        classes: of the data set as it is found now, in order.
    Raises:
        UsageError: they are of other classes.
    """
    if entry is None or classes == tuple(entry["names"]):
        return None
    above = entry["subclasses"]
    lacking = [name for name in classes if name not in above]
    if lacking:
        raise UsageError(
            f"class {lacking[0]} is in no superclass that the run knows; name the folder of its data by --data"
        )
    return Superclasses(tuple(entry["names"]), tuple(entry["names"].index(above[name]) for name in classes))


def _numbered(above: list[str], where: str) -> Superclasses:
    names = tuple(sorted(set(above)))
    if len(names) < 2:
        raise UsageError(f"{where}: all classes are in {names[0]}; a classifier needs two superclasses")
    return Superclasses(names, tuple(names.index(name) for name in above))


def _pairs(content: str, flag: str) -> Iterable[tuple[str, str]]:
    """Classes with their superclasses, as they stand in the file."""
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
    """The pairs of a mapping before anything is made of it: 0 and no are names, and what is there twice is seen."""
    import yaml

    pairs: list[tuple[str, str]] = []
    for key, value in mapping.value:
        members = value.value if isinstance(value, yaml.SequenceNode) else []
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode):
            pairs.append((key.value, value.value))
        elif isinstance(key, yaml.ScalarNode) and members and all(isinstance(one, yaml.ScalarNode) for one in members):
            pairs += [(one.value, key.value) for one in members]
        else:
            form = "a superclass for a class, or a list of classes for a superclass"
            raise UsageError(f"{flag}: {one_line(str(key.value))[:60]} must be followed by {form}")
    return pairs


def of_folders(listing: Listing, root: Path) -> tuple[Listing, Superclasses]:
    """A tree ``train/<superclass>/<subclass>/*`` by its subclasses, called ``superclass/subclass``.

    The files stay in their order, so that positions count as without it.

    Raises:
        UsageError: images beside the folders of subclasses, or a subclass without training images.
    """
    import numpy as np

    parts = [part for part in (listing.train, listing.test, listing.val) if part is not None]
    by_part = [_folders_of(part, listing.classes, root) for part in parts]
    names = tuple(sorted(set(by_part[0])))
    for unknown in sorted(set().union(*by_part[1:]) - set(names)):
        raise UsageError(f"--superclasses {FOLDERS}: {unknown} has no training images below {root}")
    number = {name: place for place, name in enumerate(names)}
    train, test, *val = (
        (paths, np.array([number[name] for name in own], dtype=np.int64)) for (paths, _), own in zip(parts, by_part)
    )
    above = tuple(listing.classes.index(name.partition("/")[0]) for name in names)
    fine = replace(listing, classes=names, train=train, test=test, val=val[0] if val else None)
    return fine, Superclasses(listing.classes, above)


def _folders_of(part: Part, classes: tuple[str, ...], root: Path) -> list[str]:
    """``superclass/subclass`` of every file: the names of the two folders that begin at its class's."""
    folders = []
    for path, label in zip(*(array.tolist() for array in part)):
        name, file = classes[label], os.fsdecode(path)
        inner = os.path.relpath(file, root).split(os.path.sep)
        if len(inner) < 4:
            reason = f"expected train/<superclass>/<subclass>/*, and {file} lies beside the folders of subclasses"
            raise UsageError(f"--superclasses {FOLDERS}: {reason}")
        folders.append(f"{name}/{inner[2]}")
    return folders
