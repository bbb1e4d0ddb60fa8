"""Locks on folders, which the system takes back when their owner ends, however it ends; on Windows and macOS too."""

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

RUN, SWEEP, CELL = ".run.lock", ".sweep.lock", ".lock"  # a script's, a sweep's, and that of a sweep's job in a cell
PLACE = 1 << 20  # the byte that is locked: behind the owner's name, since a locked byte cannot be read on Windows
_open: dict[Path, tuple[int, int]] = {}  # the lock files that this process holds: descriptors, threads that took them


def take(folder: Path, name: str = RUN) -> str | None:
    """Keep other processes out of a folder until ``scope`` or the process ends.

    Processes forked off this one, which may outlive it, have no part in the lock. Where no lock can be made nothing
    is locked: such a folder cannot be written to either, or its file system knows no locks.

    Returns:
        None if the folder is this thread's now, else who is at work there.
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
            with suppress(OSError):  # a full disk: then it is a lock without a name
                os.truncate(file, 0)
                os.write(file, f"process {os.getpid()} on {platform.node()}\n".encode())
        else:
            os.close(file)  # its owner has just removed it
    return None


@contextmanager
def scope() -> Iterator[None]:
    """Give back at the end what this thread took inside."""
    before = set(_open)
    try:
        yield
    finally:
        own = {path for path, (_, thread) in _open.items() if thread == threading.get_ident()}
        for path in own - before:
            with suppress(OSError):  # Windows deletes no open file; there it stays, unlocked
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
