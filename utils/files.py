"""The one way to write a file: beside its target, flushed, renamed."""
from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from utils import parallel, preempt
from utils.errors import RunError


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step; a reader sees the old file or the whole new one.

    Of several processes the main one writes, and the others wait for it.

    Raises:
        RunError: names the file and the reason (full disk, read-only folder, ...).
    """
    if parallel.is_main():
        with preempt.held():
            _write(path, content)
    parallel.wait()


def _write(path: Path, content: bytes) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def write_text(path: Path, content: str) -> None:
    """``write_bytes`` for UTF-8 text."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """``write_bytes`` for plain data, indented, with a final newline; NaN is refused by the format."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def torch_bytes(content: Any) -> bytes:
    """What ``torch.save`` would write; equal contents give equal bytes whatever the file's name."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def write_figure(path: Path, figure: Any) -> None:
    """``write_bytes`` for a matplotlib figure, in the format that the suffix of ``path`` names; the same figure gives the same bytes."""
    from matplotlib import rc_context

    buffer, kind = io.BytesIO(), path.suffix.removeprefix(".")
    with rc_context({"svg.hashsalt": "figure"}):
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, buffer.getvalue())


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else (
            hashlib.sha256(file.read()).hexdigest()
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
