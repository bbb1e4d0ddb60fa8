"""The catalogue of data sets: what is known of each before its files are read. Imports neither numpy nor torch.

A data set is one file in ``dataset/named``, or a module of another package (``docs/adding.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.superclasses import Superclasses
from utils.errors import UsageError
from utils.plugins import Registry

if TYPE_CHECKING:
    import numpy as np

    from dataset.tree import Listing

    Arrays = tuple[np.ndarray, np.ndarray]  # uint8 [N, H, W, 3], int64 [N]
    Reader = Callable[[Path, int | None], tuple[Arrays, Arrays, tuple[str, ...]]]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation by channel, images in [0, 1]
NUMERALS = tuple("0123456789")
NO_VAL = "_no_val"  # suffix for any data set: no training images are set apart for validation


@dataclass(frozen=True)
class Source:
    """A data set by name.

    Attributes:
        name: what ``--dataset`` calls it.
        read: (root, image side or None) -> train arrays, test arrays, class names; None if it is always read from
            image files.
        layout: root -> its image files, or None if there are none, so that ``read`` is called.
        official: training images per class, validation part included; None if only the files tell.
        classes: names of the classes, unless a folder tree says otherwise; None if only the files tell.
        mean, std: statistics by channel, for images in [0, 1]; None if they are computed from the training images.
        size: side of the images in pixels; None if only the files tell.
        resized: whether image files are resized to ``size`` if ``--input_size`` is not given.
        streamed: whether images are read from disk whenever they are needed.
        pad: pixels of zero padding for random crops, for images of ``size``; 0 crops nothing. Streamed images are
            zoomed into instead.
        flip: whether images are mirrored at random; "reference" mirrors under ``--compat reference`` only.
        with_validation: whether a tenth of the training images is set apart for validation.
        embedded: whether it comes with a package or is computed; it has no files and reads no ``--data``.
        marks: names of files or folders, one of which identifies its root, besides a class-folder tree.
        archive: file name of the published archive, which may lie in the root instead of these.
        folder: name of the folder into which it is usually unpacked and in which it is looked for.
        superclasses: what a model learns in place of the classes, which are then subclasses.
        completed: (source, root) -> the source with facts that only its folder has; for sources without image files.
        pixels: whether it holds images; otherwise it is for ``main_generate.py`` only.
    """

    name: str
    read: Reader | None = None
    layout: Callable[[Path], Listing | None] | None = None
    official: tuple[int, ...] | None = None
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = 32
    resized: bool = False
    streamed: bool = False
    pad: int = 4
    flip: bool | str = True
    with_validation: bool = True
    embedded: bool = False
    marks: tuple[str, ...] = ()
    archive: str | None = None
    folder: str | None = None
    superclasses: Superclasses | None = None
    completed: Callable[[Source, Path], Source] | None = None
    pixels: bool = True

    def files(self, root: Path) -> Listing | None:
        """Its image files in ``root``; None if it is not stored so."""
        listing = None if self.layout is None else self.layout(root)
        return listing.without_val() if listing is not None and self.name.endswith(NO_VAL) else listing


_sources: Registry[Source] = Registry("--dataset", "data set", "dataset.named", "unlearn_sparse.datasets")


def register(source: Source) -> None:
    """Let ``--dataset`` take ``source.name``. Raises ValueError: the name is taken."""
    _sources.add(source.name, source)


def names() -> list[str]:
    """Names of all data sets, as ``--dataset`` takes them; every name may also end in ``_no_val``."""
    return list(_sources)


def is_known(name: str) -> bool:
    """Whether ``get`` finds a data set of this name."""
    return base_name(canonical(name)) in _sources


def canonical(name: str) -> str:
    """The known name that equals ``name`` but for capitals, hyphens and underscores; an unknown name unchanged."""
    if name in _sources:
        return name
    known = [source + end for source in _sources for end in ("", NO_VAL)]
    return {_bare(each): each for each in known}.get(_bare(name), name)


def base_name(name: str) -> str:
    """The name without ``NO_VAL`` at its end."""
    return name.removesuffix(NO_VAL)


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def get(name: str, stream: bool = False) -> Source:
    """The source called ``name``, in any capitals.

    Args:
        stream: leave its images on disk. They are then normalised with ImageNet's statistics, since computing their own
            would take a pass over all of them.
    Raises:
        UsageError: an unknown name, or a data set that cannot be streamed.
    """
    name = canonical(name)
    source = _sources.get(base_name(name))
    if name != source.name:
        source = replace(source, name=name, with_validation=False)
    if not stream or source.streamed:
        return source
    if base_name(name) != "folder":
        raise UsageError(f"--stream: {source.name} is kept in memory; folder and imagenet can be streamed")
    return replace(source, streamed=True, size=224, mean=IMAGENET[0], std=IMAGENET[1])
