"""The one way to write a file: beside its target, flushed, renamed; and to read one that may be damaged."""

from __future__ import annotations

import codecs
import errno
import hashlib
import io
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from utils import parallel, preempt
from utils.errors import RunError, UsageError

MARKS = {  # by which a text says how it is encoded, the longest first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
TEXT = 64 << 20  # bytes of a text file that are read at most
SEAL = "seal"  # the entry of a JSON object that holds the ``seal`` of the others
UNFINISHED = ".unfinished"  # ends the name of a file that is being written


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step; a reader sees the old file or the whole new one.

    The folder must be there: one that vanished in the middle of a run, say with its disk, is not made anew.
    Of several processes the main one writes, and the others wait for it.
    Raises RunError: names the file and the reason (full disk, read-only folder, ...).
    """
    write_pieces(path, (content,))


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """``write_bytes`` of content that comes in pieces and need not fit into memory."""
    if parallel.is_main():
        with preempt.deferred(), named(path):
            _write(path, pieces)
    parallel.wait()


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _flush_folder(path.parent)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Replace the folder ``path`` by what ``fill`` writes into the one that it is handed, in one step.

    The folder around it must be there. Of several processes the main one writes, and the others wait for it.
    Raises RunError: names the folder and the reason.
    """
    if parallel.is_main():
        with preempt.deferred(), named(path):
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent))
            try:
                fill(temporary)
                os.chmod(temporary, 0o777 & ~_umask())
                if path.exists():
                    shutil.rmtree(path)
                os.replace(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            _flush_folder(path.parent)
    parallel.wait()


def _flush_folder(folder: Path) -> None:
    """Let the new name outlast a power cut, where the file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def named(path: Path | str, action: str = "write") -> Iterator[None]:
    """Turn what the system refuses inside into an error that names the file and the reason.

    Raises RunError: "cannot write FILE: REASON".
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise  # wrong input, see ``utils.errors.script``
        raise RunError(f"cannot {action} {path}: {error.strerror or error}") from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there. Raises RunError: names the folder and the reason."""
    with named(path, "make folder"):
        path.mkdir(parents=True, exist_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file in one write; one that was cut off before stays a line of its own.

    Raises RunError: names the file and the reason.
    """
    with named(path), path.open("ab+", buffering=0) as file:
        cut = file.seek(0, os.SEEK_END) > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        content = ("\n" * cut + line + "\n").encode()
        if file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def remove(path: Path) -> None:
    """Delete a file if it is there. Raises RunError: names the file and the reason."""
    with named(path, "delete"):
        path.unlink(missing_ok=True)


def remove_unfinished(folder: Path, patterns: Iterable[str]) -> None:
    """Delete what killed processes left of files and folders whose names match; nobody else may be writing these."""
    for pattern in patterns:
        for path in folder.glob(f".{pattern}.*{UNFINISHED}"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                remove(path)


def write_text(path: Path, content: str) -> None:
    """``write_bytes`` for UTF-8 text."""
    write_bytes(path, content.encode())


def read_bytes(path: Path, source: str, kind: str = "file", max_bytes: int = TEXT) -> bytes:
    """The content of an ordinary file.

    Args:
        source: begins the error: the flag and the file.
        kind: what it should be, for the error.
        max_bytes: bytes that are read at most.
    Raises:
        UsageError: missing, a folder or a device, empty, larger than ``max_bytes``, or unreadable.
    """
    size_of(path, source, kind, max_bytes)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}") from error


def read_text(path: Path, source: str, kind: str = "text file", max_bytes: int = TEXT) -> str:
    """``read_bytes`` as UTF-8, or as what a byte-order mark at its beginning says, which is no part of the text.

    Raises UsageError: as ``read_bytes``, or it is no text.
    """
    return decode(read_bytes(path, source, kind, max_bytes), source, kind)


def decode(content: bytes, source: str, kind: str = "text file") -> str:
    """The text of a file's bytes, as ``read_text`` reads it. Raises UsageError: it is no text."""
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        reason = f"is no {kind} (byte {error.start} is no {encoding.removesuffix('-sig').upper()})"
        raise UsageError(f"{source}: {reason}") from None


def size_of(path: Path, source: str, kind: str, max_bytes: int | None = None) -> int:
    """The size in bytes of an ordinary file that is not empty; nothing is opened.

    Raises UsageError: missing, a folder or a device, empty, or larger than ``max_bytes``.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        reason = "no such file" if missing else getattr(error, "strerror", None) or error
        raise UsageError(f"{source}: {reason}") from None
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{source}: is a folder, not a {kind}")
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{source}: is a device or a pipe, not a {kind}")
    if status.st_size == 0:
        raise UsageError(f"{source}: is empty")
    if max_bytes is not None and status.st_size > max_bytes:
        sizes = f"{status.st_size / 1e6:,.0f} MB, at most {max_bytes / 1e6:,.0f} MB"
        raise UsageError(f"{source}: is larger than it can be ({sizes})")
    return status.st_size


def read_json(path: Path, source: str) -> Any:
    """What ``write_json`` or somebody else wrote.

    Raises UsageError: as ``read_text``, or it is no JSON, or not what its own ``seal`` says.
    """
    return check_seal(parse_json(read_text(path, source), source), source)


def parse_json(text: str, source: str) -> Any:
    """The content of JSON text. Raises UsageError: begins with ``source``; it is no JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source}: is damaged or no JSON ({error})") from None


def check_seal(content: Any, source: str) -> Any:
    """``content`` itself. Raises UsageError: begins with ``source``; it is not what its own ``seal`` says."""
    if isinstance(content, dict) and SEAL in content and content[SEAL] != seal(content):
        raise UsageError(f"{source}: is damaged (its content is not what its seal says)")
    return content


def seal(content: dict[str, Any]) -> str:
    """16 hex digits over all other entries, by which a changed digit is seen."""
    others = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()[:16]


def write_json(path: Path, content: Any) -> None:
    """``write_bytes`` for plain data, indented, with a final newline; NaN is refused by the format."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def torch_bytes(content: Any) -> bytes:
    """What ``torch.save`` would write, with all tensors on the CPU; equal contents give equal bytes."""
    import torch

    def portable(value: Any) -> Any:
        if isinstance(value, str):
            return sys.intern(value)  # a pickle tells identical objects from equal ones
        if isinstance(value, torch.Tensor):
            return value.cpu()  # a machine without the GPU opens the file
        if isinstance(value, dict):
            pairs = {portable(key): portable(item) for key, item in value.items()}
            return pairs if type(value) is dict else type(value)(pairs)
        if isinstance(value, (list, tuple)):
            return type(value)(portable(item) for item in value)
        return value

    buffer = io.BytesIO()
    torch.save(portable(content), buffer)
    return buffer.getvalue()


def write_figure(path: Path, figure: Any) -> None:
    """``write_bytes`` for a matplotlib figure, in the format of the suffix; equal figures give equal bytes."""
    from matplotlib import rc_context

    buffer, kind = io.BytesIO(), path.suffix.removeprefix(".")
    with rc_context({"svg.hashsalt": "figure"}):
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, buffer.getvalue())


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        if hasattr(hashlib, "file_digest"):  # from Python 3.11
            return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(file.read()).hexdigest()


def folder_sha256(folder: Path) -> str:
    """Hex digest over the names and contents of all files of a folder and of those below it."""
    state = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        state.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return state.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
