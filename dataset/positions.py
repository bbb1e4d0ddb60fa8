"""Read a list of images: positions, a 0/1 mask or names of image files, typed or in a file of any common kind.

A file's content decides how it is read, not its name: NumPy's .npy and .npz, torch's .pt, JSON, and text with
commas, semicolons, blanks or line ends between. Nothing in a file is run.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import files
from utils.errors import UsageError, one_line
from utils.names import listed

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # those of ImageFolder
MOST = 64 << 20  # bytes of a file that lists images
MOST_COLUMNS = 4  # lines of at most so many numbers each are a table; longer lines are a wrapped list
NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"  # the first bytes of such files
TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first bytes of files of torch before 1.6
OTHERS = {
    b"\x80": "a pickle, which can run code; np.save the list",
    b"\x1f\x8b": "compressed; unpack it",
    b"\x89HDF": "HDF5; np.save the list",
    b"PAR1": "Parquet; np.save the list",
}


@dataclass(frozen=True)
class Listed:
    """The content of a list.

    Attributes:
        positions: positions from 0, each once; for a mask, those of its ones.
        over: length of the mask; None if it is not a mask.
        files: names of image files; None if the list holds positions or a mask.
    """

    positions: tuple[int, ...] = ()
    over: int | None = None
    files: tuple[str, ...] | None = None


def read(text: str, typed_as: str) -> Listed:
    """The images that a typed list or a file names.

    Args:
        text: what was typed.
        typed_as: flag and value, for errors.
    Raises:
        UsageError: an unreadable file, or content that is neither positions, a mask nor file names.
    """
    path = Path(os.path.expanduser(text))
    try:
        if text.lower().endswith(SUFFIXES):
            return _listed(_words(text.replace(",", "\n")))
        if re.fullmatch(r"[\d\s,;]+", text) or not (os.path.exists(path) or _means_a_file(text)):
            return _listed(_words(text))
        return _listed(_values(files.read_bytes(path, typed_as, "list", MOST), typed_as))
    except (UsageError, ValueError, TypeError, EOFError, OverflowError, MemoryError, RecursionError) as error:
        reason = one_line(str(error).removeprefix(f"{typed_as}: "))[:300]
        raise UsageError(
            f"{typed_as}: must be whole numbers with commas between, or a file of them; {reason}"
        ) from None


def _means_a_file(text: str) -> bool:
    """Whether a single word, although no such file exists, looks like a file's name."""
    return bool(re.search(r"[/\\]|\.[A-Za-z]\w*$", text)) and not re.search(r"[,;\s]", text)


def _values(content: bytes, flag: str) -> list[Any]:
    """The members of a list, whatever kind of file it is in."""
    if content.startswith(NPY):
        return _array(content)
    if content.startswith(ZIP):
        return _zip(content)
    if content.startswith(TORCH):
        return _tensor(content)
    for start, words in OTHERS.items():
        if content.startswith(start):
            raise ValueError(f"this file is {words}")
    text = files.decode(content, flag, "list").strip()
    if text[:1] not in ("[", "{"):
        return _words(text)
    values = json.loads(text)
    if isinstance(values, dict):
        raise ValueError(_holds(values, "an object with "))
    if any(isinstance(value, (list, dict)) for value in values):
        raise ValueError("it holds lists in a list")
    return values


def _words(text: str) -> list[Any]:
    """The members of a text: numbers, True and False, or one file name per line; a column's heading is left out."""
    lines = [line.strip() for line in re.sub(r"#.*", "", text).splitlines() if line.strip()]
    names = [line.strip("\"'") for line in lines]
    if names and all(name.lower().endswith(SUFFIXES) for name in names):
        return names
    rows = [[word for word in re.split(r"[,;\s]+", line) if word] for line in lines]
    if len(rows) > 1 and rows[0] and not any(_number(word) is not None for word in rows[0]):
        if len(rows[0]) > 1 or any(len(row) > 1 for row in rows[1:]):
            raise ValueError(f"it has several columns, headed {', '.join(rows[0])}; keep the one of positions alone")
        del rows[0]
    if len(rows) > 1 and re.match(r"\s*[,;\t]", next(line for line in text.splitlines() if line.strip())):
        raise ValueError("it has several columns, the first without a heading; keep the one of positions alone")
    _check_columns(rows, [line[-1] in ",;" for line in lines[-len(rows) :]])
    words = [word for row in rows for word in row]
    return [word if (number := _number(word)) is None else number for word in words]


def _check_columns(rows: list[list[str]], open_ended: list[bool]) -> None:
    """Refuse a table: positions beside labels, or beside an index of the lines, would all be taken for positions.

    Args:
        rows: the words of each line.
        open_ended: for each line whether it ends in a separator, as in a list that goes on in the next line.
    """
    widths = {len(row) for row in rows}
    if len(rows) < 2 or len(widths) > 1 or not 2 <= min(widths) <= MOST_COLUMNS or all(open_ended[:-1]):
        return
    if [row[0] for row in rows] in ([str(i + start) for i in range(len(rows))] for start in (0, 1)) and widths == {2}:
        raise ValueError("its first column counts its lines; keep the other alone")
    reason = f"each of its {len(rows):,} lines has {min(widths)} columns; keep the one of positions alone"
    raise ValueError(f"{reason}, or write a list with one position a line")


def _number(word: str) -> int | float | bool | None:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        return float(word) if re.search(r"[.eEn]", word) else int(word)
    except ValueError:
        return None


def _array(content: bytes) -> list[Any]:
    """The members of a NumPy array of one row or column."""
    import numpy as np

    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # noqa: BLE001  (a header is read as Python's syntax, which can be wrong in many ways)
        raise ValueError(f"it is damaged ({error})") from None
    return _row(array)


def _row(array: np.ndarray) -> list[Any]:
    if sum(size != 1 for size in array.shape) > 1:
        raise ValueError(f"its array has shape {array.shape}; a list has one row or column")
    return array.ravel().tolist()


def _zip(content: bytes) -> list[Any]:
    """The one array of an .npz file, or what torch.save wrote."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            names = members.namelist()
            if sum(member.file_size for member in members.infolist()) > MOST:
                raise ValueError(f"it unpacks to more than {MOST / 1e6:,.0f} MB")
            if any(name.endswith("/data.pkl") for name in names):
                return _tensor(content)
            arrays = [name for name in names if name.endswith(".npy")]
            if len(arrays) == 1:
                return _array(members.read(arrays[0]))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"it is damaged ({error})") from None
    raise ValueError(_holds(name.removesuffix(".npy") for name in names))


def _tensor(content: bytes) -> list[Any]:
    """The tensor or list that torch.save wrote."""
    import torch

    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  (a damaged file can raise anything)
        raise ValueError(f"torch cannot read it safely ({str(error).splitlines()[0][:120]})") from None
    if isinstance(loaded, torch.Tensor):
        return _row(loaded.detach().numpy())
    if isinstance(loaded, dict):
        raise ValueError(_holds(loaded))
    if not isinstance(loaded, (list, tuple, set, frozenset)):
        raise ValueError(f"it holds {type(loaded).__name__}, no list")
    return [value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value for value in loaded]


def _holds(names: Iterable[Any], form: str = "") -> str:
    """The words of an error for a file of several entries."""
    content = listed([str(name) for name in names], 5) or "nothing"
    return f"it holds {form}{content}, of which the list has to be taken out"


def _listed(values: list[Any]) -> Listed:
    """Positions, a mask or file names.

    Zeros and ones could be positions or a mask. They are taken for a mask, since a wrong length is refused later.
    """
    if not values:
        raise ValueError("it must name at least one image")
    if all(isinstance(value, str) and value.lower().endswith(SUFFIXES) for value in values):
        return Listed(files=_once(values))
    wrong = next((value for value in values if not isinstance(value, (bool, int, float))), None)
    if wrong is not None:
        raise ValueError(_no_number(wrong))
    truths = sum(isinstance(value, bool) for value in values)
    if truths not in (0, len(values)):
        raise ValueError("it mixes numbers with True and False")
    fraction = next((value for value in values if not math.isfinite(value) or value != int(value)), None)
    if fraction is not None:
        raise ValueError(f"{fraction} is no whole number")
    numbers = [int(value) for value in values]
    if truths or (len(numbers) > 2 and set(numbers) <= {0, 1}):
        return Listed(tuple(place for place, marked in enumerate(numbers) if marked), over=len(numbers))
    if min(numbers) < 0 or max(numbers) >= 2**31:
        reason = f"not {min(numbers) if min(numbers) < 0 else max(numbers)}"
        raise ValueError(f"it must name images by positions from 0 up, {reason}")
    return Listed(_once(numbers))


def _no_number(word: Any) -> str:
    """The words of an error for a member that is neither a number nor a truth value."""
    span = re.fullmatch(r"(\d{1,9})([-:])(\d{1,9})", word) if isinstance(word, str) else None
    if span is None:
        return f"{str(word)[:40]!r} is no number"
    last = int(span[3]) - (span[2] == ":")
    return f"{word} is a range, which has to be written out: $(seq -s, {span[1]} {last})"


def _once(members: Sequence[Any]) -> tuple[Any, ...]:
    """The members; ValueError if one occurs twice, as in a list of labels."""
    first, times = Counter(members).most_common(1)[0]
    if times > 1:
        more = len(members) - len(set(members))
        reason = f"{first} is there {times} times, {more:,} of its {len(members):,} entries are repeated"
        if len(members) > 2 * (len(members) - more):  # np.unique of labels would be a list of a few wrong images
            raise ValueError(f"{reason}, as in a list of labels; np.flatnonzero(LIST == LABEL) gives positions")
        raise ValueError(f"{reason}; a list names every image once (np.unique)")
    return tuple(members)


def of_files(names: tuple[str, ...], paths: np.ndarray, typed_as: str) -> tuple[int, ...]:
    """Positions of image files among all training images.

    Args:
        names: paths, or the last parts of paths, such as class/image.png.
        paths: files of the N training images in order, bytes [N].
        typed_as: flag and value, for errors.
    Raises:
        UsageError: a name that fits no training image or several, or two names of one image.
    """
    by_name: dict[str, list[tuple[int, str]]] = {}
    for position, path in enumerate(paths.tolist()):
        absolute = os.path.abspath(os.fsdecode(path))
        by_name.setdefault(os.path.basename(absolute), []).append((position, absolute))
    positions = []
    for name in names:
        end = os.path.normpath(name.replace("\\", "/"))
        suffix = end if os.path.isabs(end) else os.path.sep + end.lstrip("./")
        fitting = [position for position, path in by_name.get(os.path.basename(end), []) if path.endswith(suffix)]
        if len(fitting) != 1:
            problem = f"fits {len(fitting)} training images" if fitting else "is none of the training images"
            hint = "name files by their path from the class's folder on, as class/image.png"
            raise UsageError(f"{typed_as}: {one_line(name)} {problem}; {hint}")
        positions += fitting
    return _unique(tuple(positions), typed_as)


def _unique(positions: tuple[int, ...], typed_as: str) -> tuple[int, ...]:
    try:
        return _once(positions)
    except ValueError:
        raise UsageError(f"{typed_as}: names a training image twice, by different paths") from None
