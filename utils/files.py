"""Writes files in one step (beside the target, flushed, then renamed), and reads files that may be damaged."""

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

MARKS = {  # byte-order marks, the longest first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
TEXT = 64 << 20  # most bytes of a text file that is read
SEAL = "seal"  # key of the entry that holds the ``seal`` of a JSON object's other entries
UNFINISHED = ".unfinished"  # suffix of files that are being written


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step; a reader sees the old file or the whole new one.

    The folder must exist: one that vanished during a run, with its disk for example, is not created again. Of several
    processes the main one writes, and the others wait for it.

    Raises:
        RunError: it cannot be written; the message names the file and the reason (full disk, read-only folder, ...).
    """
    write_pieces(path, (content,))


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """``write_bytes`` for content that comes in pieces and need not fit into memory."""
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
    """Replace the folder ``path`` by a new one.

    The new folder is filled beside it and then renamed, so that it is whole wherever it exists. An old one is renamed
    just before that and deleted afterwards. A process that is killed between the two renames leaves it beside ``path``,
    as ``old`` in a hidden folder, which ``remove_unfinished`` deletes. The parent folder must exist. Of several
    processes the main one writes, and the others wait for it.

    Args:
        fill: writes the content into the folder that it is given.
    Raises:
        RunError: it cannot be written; the message names the folder and the reason.
    """
    if parallel.is_main():
        with preempt.deferred(), named(path):
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent))
            new, old = temporary / "new", temporary / "old"
            try:
                new.mkdir()
                fill(new)
                if path.exists():
                    os.replace(path, old)
                try:
                    os.replace(new, path)
                except OSError:
                    if old.exists():
                        os.replace(old, path)
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            _flush_folder(path.parent)
    parallel.wait()


def _flush_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut, where the file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def named(path: Path | str, action: str = "write") -> Iterator[None]:
    """Turn an ``OSError`` from inside into an error that names the file and the reason.

    Args:
        action: the verb of the message.
    Raises:
        RunError: "cannot write FILE: REASON". A name that is too long stays an ``OSError``, since it is wrong input.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise  # ``utils.errors.script`` reports it as wrong input
        raise RunError(f"cannot {action} {path}: {error.strerror or error}") from error


def make_folder(path: Path) -> None:
    """Make a folder and its parents if they do not exist.

    Raises:
        RunError: it cannot be made; the message names the folder and the reason.
    """
    with named(path, "make folder"):
        path.mkdir(parents=True, exist_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file in one write. A last line that was cut off by a kill is ended first.

    Raises:
        RunError: it cannot be written; the message names the file and the reason.
    """
    with named(path), path.open("ab+", buffering=0) as file:
        cut = file.seek(0, os.SEEK_END) > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        content = ("\n" * cut + line + "\n").encode()
        if file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def remove(path: Path) -> None:
    """Delete a file if it exists.

    Raises:
        RunError: it cannot be deleted; the message names the file and the reason.
    """
    with named(path, "delete"):
        path.unlink(missing_ok=True)


def remove_unfinished(folder: Path, patterns: Iterable[str]) -> None:
    """Delete unfinished files and folders that killed processes left.

    Args:
        folder: where they are.
        patterns: glob patterns of the names that they were to get. No other process may be writing these.
    """
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
        source: what error messages begin with, the flag and the file for example.
        kind: what the file should be, for error messages.
        max_bytes: the largest size that is accepted.
    Raises:
        UsageError: it is missing, a folder or a device, empty, larger than ``max_bytes``, or unreadable.
    """
    size_of(path, source, kind, max_bytes)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}") from error


def read_text(path: Path, source: str, kind: str = "text file", max_bytes: int = TEXT) -> str:
    """The text of a file: UTF-8, or the encoding that a byte-order mark at its beginning names. The mark is left out.

    Raises:
        UsageError: as ``read_bytes``, or the file is no text.
    """
    return decode(read_bytes(path, source, kind, max_bytes), source, kind)


def decode(content: bytes, source: str, kind: str = "text file") -> str:
    """The text of a file's bytes, decoded as in ``read_text``.

    Raises:
        UsageError: they are no text.
    """
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        reason = f"is no {kind} (byte {error.start} is no {encoding.removesuffix('-sig').upper()})"
        raise UsageError(f"{source}: {reason}") from None


def size_of(path: Path, source: str, kind: str, max_bytes: int | None = None) -> int:
    """The size in bytes of an ordinary, non-empty file, which is not opened.

    Raises:
        UsageError: it is missing, a folder or a device, empty, or larger than ``max_bytes``.
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
    """The content of a JSON file.

    Raises:
        UsageError: as ``read_text``, or it is no JSON, or has a ``seal`` that does not fit its content.
    """
    return check_seal(parse_json(read_text(path, source), source), source)


def parse_json(text: str, source: str) -> Any:
    """The content of JSON text.

    Args:
        source: what error messages begin with.
    Raises:
        UsageError: it is no JSON; NaN and Infinity are refused too.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source}: is damaged or no JSON ({error})") from None


def check_seal(content: Any, source: str) -> Any:
    """``content`` unchanged, if it has no seal or its seal fits.

    Args:
        source: what error messages begin with.
    Raises:
        UsageError: the seal does not fit the content.
    """
    if isinstance(content, dict) and SEAL in content and content[SEAL] != seal(content):
        raise UsageError(f"{source}: is damaged (its content is not what its seal says)")
    return content


def seal(content: dict[str, Any]) -> str:
    """A checksum of a JSON object's entries other than ``SEAL``, 16 hex digits."""
    others = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()[:16]


def write_json(path: Path, content: Any) -> None:
    """``write_bytes`` for plain data as JSON, indented, with a final newline. ValueError for NaN and infinity."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def torch_bytes(content: Any) -> bytes:
    """The bytes of ``torch.save``, with all tensors moved to the CPU; equal contents give equal bytes."""
    import torch

    def portable(value: Any) -> Any:
        if isinstance(value, str):
            return sys.intern(value)  # equal strings that are different objects would be pickled differently
        if isinstance(value, torch.Tensor):
            return value.cpu()  # so that a machine without the GPU can open the file
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
    """``write_bytes`` for a matplotlib figure in the format of the path's suffix; equal figures give equal bytes."""
    from matplotlib import rc_context

    buffer, kind = io.BytesIO(), path.suffix.removeprefix(".")
    with rc_context({"svg.hashsalt": "figure"}):
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, buffer.getvalue())


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        if hasattr(hashlib, "file_digest"):  # from Python 3.11
            return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(file.read()).hexdigest()


def folder_sha256(folder: Path) -> str:
    """Hex SHA-256 over the relative paths and contents of all files in a folder and below it."""
    state = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        state.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return state.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
