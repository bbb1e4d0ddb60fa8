"""A process of its own for something, without importing torch anew: forked off, watched, with its own file systems."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from conftest import ROOT

NEEDED = (
    "torch._dynamo",
    "torch.fx.experimental.optimization",
    "sklearn.datasets",
    "sklearn.svm",
    "sklearn.linear_model",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "torchvision",
)
NEW_MOUNTS, NEW_USER, NEW_NETWORK = 0x00020000, 0x10000000, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Ended:
    """How a process ended: its code (negative for a signal), what it said, and the most memory it had, in bytes."""

    code: int
    out: str
    err: str
    memory: int


def run(action: Callable[[], int], folder: Path, seconds: int = 120) -> Ended:
    """What ``action`` returns, printed and needed, in a process forked off this one; a traceback ends in code 99.

    Args:
        folder: where its output is kept.
        seconds: then it is killed.
    """
    for needed in NEEDED:  # once, and not in every process anew
        importlib.import_module(needed)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _child(action, folder, seconds)
    _, status, used = os.wait4(child, 0)
    out, err = ((folder / name).read_text(errors="replace") for name in ("said.out", "said.err"))
    return Ended(os.waitstatus_to_exitcode(status), out, err, used.ru_maxrss * 1024)


def python(words: list[str], place: Path, folder: Path, path: Path | None = None) -> Ended:
    """What ``python WORDS`` in the folder ``place`` returns and prints; only libraries are imported already.

    Args:
        words: a script in ``place`` and its flags, ``-c`` and code, or ``-m`` and a module.
        path: what PYTHONPATH would be.
    """
    return run(lambda: _anew(words, place, path), folder, seconds=300)


def _anew(words: list[str], place: Path, path: Path | None) -> int:
    ours = {entry.stem for entry in [*ROOT.glob("*.py"), *ROOT.glob("tests/*.py")]}
    ours |= {entry.parent.name for entry in ROOT.glob("*/__init__.py")}
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]
    others = [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "tests")]
    sys.path[:] = [str(place), *([] if path is None else [str(path)]), *others]
    os.chdir(place)
    sys.argv = words[1:] if words[0] in ("-c", "-m") else words
    if words[0] == "-c":
        exec(words[1], {"__name__": "__main__"})
    elif words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")
    return 0


def _child(action: Callable[[], int], folder: Path, seconds: int) -> None:
    code = 99
    try:
        signal.alarm(seconds)
        for number, name in ((1, "said.out"), (2, "said.err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.stdin = open(os.devnull)  # noqa: SIM115  (the process ends with it)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        torch.set_num_threads(1)  # the threads of the parent are not here
        code = action()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)


def small_disk(place: Path, size: int) -> None:
    """Put an empty disk of ``size`` bytes at ``place``, for this process alone.

    Raises:
        PermissionError: this system does not let us.
    """
    user = os.getuid()
    if _libc.unshare(NEW_MOUNTS if user == 0 else NEW_MOUNTS | NEW_USER):
        raise PermissionError(ctypes.get_errno(), "unshare")
    if user:
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    mount(None, "/", 0x44000)  # MS_REC | MS_PRIVATE: nothing of this is seen outside
    mount("tmpfs", place, 0, f"size={size}")


def mount(kind: str | None, place: Path | str, flags: int, data: str = "") -> None:
    """The system call."""
    if _libc.mount(b"none", os.fsencode(place), kind and kind.encode(), flags, data.encode() or None):
        raise PermissionError(ctypes.get_errno(), f"mount {place}")


def no_network() -> None:
    """Take the network away from this process, for good.

    Raises:
        PermissionError: this system does not let us.
    """
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(NEW_NETWORK if user == 0 else NEW_NETWORK | NEW_USER):
        raise PermissionError(ctypes.get_errno(), "unshare")
    if user:
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
