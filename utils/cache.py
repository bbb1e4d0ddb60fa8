"""A cache of data sets for a process that runs several cells one after the other (``sweep.serve``). Imports no torch.

Before ``begin`` nothing is cached, so that other scripts hold a data set only as long as they use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")

MOST = 2 << 30  # most bytes of the arrays of a value that is handed to another process
COUNT = 2  # most values that are kept, the latest
GROWTH = 4 << 30  # bytes by which this process's memory may grow after ``begin``


class _Cache:
    kept: dict[Hashable, Any] | None = None
    fresh: dict[Hashable, Any] = {}
    began = 0


def begin() -> None:
    """Start caching in this process."""
    _Cache.kept, _Cache.began = {}, _resident()


def get_or_make(key: Hashable, make: Callable[[], Value]) -> Value:
    """The cached value of ``key``, else what ``make`` returns, which is then cached if ``begin`` was called."""
    if _Cache.kept is None:
        return make()
    if key not in _Cache.kept:
        _Cache.kept[key] = _Cache.fresh[key] = make()
    return _Cache.kept[key]


def new() -> dict[Hashable, Any]:
    """The values that ``get_or_make`` made in this process, without those larger than ``MOST``.

    In a forked process these are the ones that the process that it was forked off does not have.
    """
    return {key: value for key, value in _Cache.fresh.items() if _size(value) <= MOST}


def keep(objects: dict[Hashable, Any]) -> None:
    """Cache values that another process made, and drop the oldest beyond ``COUNT``. ``begin`` must come first."""
    assert _Cache.kept is not None, "begin() comes first"
    _Cache.kept |= objects
    for key in list(_Cache.kept)[:-COUNT]:
        del _Cache.kept[key]


def grown() -> bool:
    """Whether this process's memory has grown by more than ``GROWTH`` since ``begin``."""
    return _Cache.kept is not None and _resident() > _Cache.began + GROWTH


def _size(value: Any) -> int:
    return sum(getattr(part, "nbytes", 0) for part in vars(value).values())


def _resident() -> int:
    """Bytes of resident memory of this process; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
