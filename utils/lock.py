"""One run at a time in a folder: a lock that the system takes back when its owner ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = ".run.lock"
_held: dict[Path, int] = {}  # open files by folder


def take(folder: Path) -> str | None:
    """Keep other processes out of a folder until ``scope`` or the process ends.

    A record lock: processes forked off this one, which may outlive it, have no part in it. Where no lock can be
    made nothing is locked: such a folder cannot be written to either, or its file system knows no locks.

    Returns:
        None if the folder is this process's now, else who is at work there.
    """
    folder = folder.resolve()
    while folder not in _held:
        try:
            file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return None
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(file, 200, 0).decode(errors="replace").strip()
            os.close(file)
            return (owner or "another process") if error.errno in (errno.EACCES, errno.EAGAIN) else None
        if _is_at(file, folder / NAME):
            _held[folder] = file
            with suppress(OSError):  # a full disk: then it is a lock without a name
                os.truncate(file, 0)
                os.pwrite(file, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        else:
            os.close(file)  # its owner has just removed it
    return None


@contextmanager
def scope() -> Iterator[None]:
    """Give back at the end what was taken inside."""
    before = set(_held)
    try:
        yield
    finally:
        for folder in set(_held) - before:
            with suppress(OSError):
                (folder / NAME).unlink()
            os.close(_held.pop(folder))


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
