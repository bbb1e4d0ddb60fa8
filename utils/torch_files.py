"""Reads files of tensors that may be damaged or of unknown origin: no code in them is run, and sizes are limited."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from utils import files
from utils.errors import UsageError

ZIP = b"PK\x03\x04"  # first bytes of files by torch.save
GLANCE = 1 << 30  # most bytes of a file that has to be read whole just to learn what it is
ROOM = 128 << 20  # bytes that a checkpoint may have in addition to its tensors
FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
DTYPES = FLOATS | {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool}
MASK = "_mask"  # suffix of masks, both those multiplied with weights and those added to attention


def load(
    path: Path, source: str, allow_pickle: bool = False, model: nn.Module | None = None, glance: bool = False
) -> Any:
    """The content of a file by ``torch.save`` or of a safetensors file, with tensors on the CPU.

    Args:
        source: what error messages begin with, the flag and the file for example.
        allow_pickle: whether a file may hold objects other than plain tensors, which can run code.
        model: a model for which the file is meant; a file too large to be a checkpoint of it is refused.
        glance: whether to map tensors into memory instead of reading them. A file that cannot be mapped is refused if
            it is larger than ``GLANCE``.
    Raises:
        UsageError: the file is missing, empty, damaged, too large, or needs ``allow_pickle``.
    """
    size = files.size_of(path, source, "checkpoint", None if model is None else room(model))
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            begins = file.read(9)
            if begins.lstrip().startswith((b"{", b"[")):  # no pickle begins like this, so do not advise --allow_pickle
                raise UsageError(f"{source}: is JSON, not a checkpoint; models end in .pth.tar, .pt or .safetensors")
            zipped = begins[:4] == ZIP
            if zipped:
                _check_archive(path, size, source, glance)
            elif glance and size > GLANCE:
                raise UsageError(f"{source}: is too large to be looked at")
            if begins[8:] == b"{" and int.from_bytes(begins[:8], "little") < size:
                return _safetensors(path, source)
            return torch.load(path, map_location="cpu", weights_only=not allow_pickle, mmap=glance and zipped)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001  (a damaged file can raise anything)
        if "weights_only" in str(error) or "Weights only" in str(error):
            why = "if you trust where it comes from, add --allow_pickle"
            raise UsageError(f"{source}: is not a file of plain tensors; {why}") from error
        if allow_pickle and isinstance(error, (AttributeError, ImportError)):
            why = "save model.state_dict() alone instead"
            raise UsageError(f"{source}: holds objects whose code is not here ({error}); {why}") from error
        reason = f": {error}" if isinstance(error, zipfile.BadZipFile) else ""
        raise UsageError(f"{source}: is damaged or not a checkpoint ({type(error).__name__}{reason})") from error


def _safetensors(path: Path, source: str) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UsageError(f"{source}: is a safetensors file; pip install safetensors") from error
    return load_file(path)


def _check_archive(path: Path, size: int, source: str, glance: bool = False) -> None:
    """Check sizes and checksums of a zip archive, which torch does not: it unpacks whatever size an entry declares.

    Args:
        size: of the file, in bytes.
        glance: whether to check sizes only.
    Raises:
        UsageError: it is a TorchScript program.
        zipfile.BadZipFile: an entry is damaged or compressed, which torch never does, or the entries are larger than
            the file.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any("/code/__torch__" in entry.filename for entry in entries):
            hint = "save its state_dict() with torch.save instead"
            raise UsageError(f"{source}: is a TorchScript program, not a checkpoint; {hint}")
        if (
            any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            or sum(entry.file_size for entry in entries) > size
        ):
            raise zipfile.BadZipFile("its entries are larger than the file")
        damaged = None if glance else archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} differs")


def check_tensors(state: Mapping[str, Tensor], source: str, model: nn.Module | None) -> None:
    """Refuse tensors that could harm or mislead later code.

    Args:
        state: tensors by name.
        source: what error messages begin with.
        model: the model that they are for, which limits their size; None for no limit.
    Raises:
        UsageError: a tensor is not plain (dense, on the CPU, of a common dtype), claims more numbers than are stored,
            holds NaN or infinite values, or all are larger than a checkpoint of the model can be.
    """
    left = None if model is None else room(model)
    for key, value in state.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in DTYPES or value.is_nested:
            raise UsageError(f"{source}: {key} is no plain tensor ({kind(value)}, {value.layout}, {value.device})")
        size = value.numel() * value.element_size()
        if size > value.untyped_storage().nbytes():
            raise UsageError(f"{source}: {key} has more entries than numbers are stored for it")
        if left is not None:
            left -= size
            if left < 0:
                raise UsageError(f"{source}: its entries together are larger than any checkpoint of this model")
        if value.is_floating_point() and not sound(key, value):
            raise UsageError(f"{source}: {key} holds NaN or infinite values")


def sound(key: str, value: Tensor) -> bool:
    """Whether all numbers are finite; in attention masks -inf is allowed.

    Args:
        key: name of the tensor. Names that end in "_mask" are of attention masks, unless in "weight_mask".
    """
    if key.endswith(MASK) and not key.endswith("weight" + MASK):
        value = value.masked_fill(value == -torch.inf, 0.0)
    return bool(torch.isfinite(value).all())


def kind(value: Tensor) -> str:
    """A tensor's dtype as text, "float32" for example."""
    return str(value.dtype).removeprefix("torch.")


def room(model: nn.Module) -> int:
    """Most bytes that a checkpoint of the model may have: for weights, masks, rewind weights, moments, and more."""
    return ROOM + 8 * sum(value.numel() * value.element_size() for value in model.state_dict().values())
