"""Arrays as text in a page, which its script reads as typed arrays."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WORD = 4  # arrays begin at multiples of so many bytes
LEVELS = 2**16 - 1  # steps between the least and the greatest of rounded numbers


@dataclass
class Packed:
    """Several arrays, stored one after the other.

    Attributes:
        index: by name ``type`` (numpy's name), ``start`` (in bytes) and ``length`` (in elements). Rounded numbers also
            have ``low`` and ``step``: the stored level n stands for low + n * step.
    """

    index: dict[str, dict[str, Any]] = field(default_factory=dict)
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0

    def add(self, name: str, array: np.ndarray) -> None:
        """Add integers as the shortest unsigned type that holds them; the shape is not kept.

        Raises:
            ValueError: one is negative.
        """
        largest = int(array.max()) if array.size else 0
        if array.size and array.min() < 0:
            raise ValueError(f"{name}: {array.min()} is negative")
        kind = next(kind for kind in (np.uint8, np.uint16, np.uint32) if largest <= np.iinfo(kind).max)
        self._append(name, array.astype(kind))

    def add_rounded(self, name: str, array: np.ndarray) -> None:
        """Add finite numbers, rounded to 65,536 equidistant levels from the least to the greatest."""
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        step = (high - low) / LEVELS or 1.0
        self._append(name, ((array - low) / step).round().astype(np.uint16))
        self.index[name] |= {"low": low, "step": step}

    def text(self) -> str:
        """All arrays as one text: gzip in base64, little-endian."""
        return compressed(b"".join(self._parts))

    def _append(self, name: str, array: np.ndarray) -> None:
        content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        self.index[name] = {"type": array.dtype.name, "start": self._size, "length": array.size}
        self._parts.append(content + bytes(-len(content) % WORD))
        self._size += len(self._parts[-1])


def compressed(content: bytes) -> str:
    """Bytes as text: compressed by gzip, in base64."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def unpacked(index: dict[str, dict[str, Any]], text: str) -> dict[str, np.ndarray]:
    """The arrays in the result of ``Packed.text`` by name, one-dimensional, rounded ones as float64."""
    content, arrays = gzip.decompress(base64.b64decode(text)), {}
    for name, entry in index.items():
        kind = np.dtype(entry["type"]).newbyteorder("<")
        array = np.frombuffer(content, kind, entry["length"], entry["start"])
        arrays[name] = entry["low"] + array * entry["step"] if "step" in entry else array
    return arrays
