"""What a process that runs several cells keeps of one for the next: data sets that were read. Imports no torch.

Elsewhere nothing is kept: whoever reads a data set holds it only as long as it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")

MOST = 2 << 30  # bytes of the arrays of one value that is kept
COUNT = 2  # values that are kept, the latest
GROWTH = 4 << 30  # bytes of memory that this process may take beyond what it began with


class _Cache:
    kept: dict[Hashable, Any] | None = None
    fresh: dict[Hashable, Any] = {}
    began = 0


def begin() -> None:
    """Keep values from now on."""
    _Cache.kept, _Cache.began = {}, _resident()


def get_or_make(key: Hashable, make: Callable[[], Value]) -> Value:
    """What was kept under ``key``, else what ``make`` returns."""
    if _Cache.kept is None:
        return make()
    if key not in _Cache.kept:
        _Cache.kept[key] = _Cache.fresh[key] = make()
    return _Cache.kept[key]


def new() -> dict[Hashable, Any]:
    """What was made since ``begin``, or since the process was forked, and is small enough to be kept."""
    return {key: value for key, value in _Cache.fresh.items() if _size(value) <= MOST}


def keep(objects: dict[Hashable, Any]) -> None:
    """Keep what another process made, in place of what has been there for longest."""
    assert _Cache.kept is not None, "begin() comes first"
    _Cache.kept |= objects
    for key in list(_Cache.kept)[:-COUNT]:
        del _Cache.kept[key]


def grown() -> bool:
    """Whether this process has taken much more memory than it had when it began to keep values."""
    return _Cache.kept is not None and _resident() > _Cache.began + GROWTH


def _size(value: Any) -> int:
    return sum(getattr(part, "nbytes", 0) for part in vars(value).values())


def _resident() -> int:
    """Bytes of memory that this process takes; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
