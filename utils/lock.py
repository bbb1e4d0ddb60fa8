"""Locks on folders. The system releases them when their process ends, however it ends, also on Windows and macOS."""

from __future__ import annotations

import errno
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # there is no such module
    import msvcrt

RUN, SWEEP, CELL = ".run.lock", ".sweep.lock", ".lock"  # of a script, of a sweep, and of a sweep's job for one cell
PLACE = 1 << 20  # the byte that is locked; it lies behind the owner's name, which Windows could not read if locked
_open: dict[Path, tuple[int, int]] = {}  # by lock file held by this process: descriptor, and thread that took it


def take(folder: Path, name: str = RUN) -> str | None:
    """Lock a folder for this thread until ``scope`` or the process ends.

    Processes forked off this one do not share the lock. If no lock file can be made, or the file system has no locks,
    the folder is left unlocked and counts as this thread's.

    Args:
        name: of the lock file; different names are different locks.
    Returns:
        None if the folder is this thread's now, else a description of the owner.
    """
    path = folder.resolve() / name
    if path in _open and _open[path][1] != threading.get_ident():
        return "another run of this process"
    while path not in _open:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            _lock(file)
        except OSError as error:
            owner = os.read(file, 200).decode(errors="replace").strip()
            os.close(file)
            return (owner or "another process") if error.errno in (errno.EACCES, errno.EAGAIN) else None
        if _is_at(file, path):
            _open[path] = file, threading.get_ident()
            with suppress(OSError):  # on a full disk the lock holds, but does not name its owner
                os.truncate(file, 0)
                os.write(file, f"process {os.getpid()} on {platform.node()}\n".encode())
        else:
            os.close(file)  # the owner removed the file between our open and lock: try again
    return None


@contextmanager
def scope() -> Iterator[None]:
    """Release at the end the locks that this thread took inside."""
    before = set(_open)
    try:
        yield
    finally:
        own = {path for path, (_, thread) in _open.items() if thread == threading.get_ident()}
        for path in own - before:
            with suppress(OSError):  # Windows cannot delete an open file, which stays there unlocked
                path.unlink()
            os.close(_open.pop(path)[0])


def _lock(file: int) -> None:
    """Lock one byte of an open file for this process alone, or raise OSError with EACCES or EAGAIN."""
    os.lseek(file, PLACE, os.SEEK_SET)
    try:
        if fcntl is None:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, PLACE)
    finally:
        os.lseek(file, 0, os.SEEK_SET)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
