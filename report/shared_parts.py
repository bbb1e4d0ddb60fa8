"""Compresses packed files: what occurs several times is written once. Imports neither torch nor pandas."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from utils.errors import UsageError

SHARED = "shared"  # key of the list of shared values, in the first line
PLACE = "$shared"  # only key of an object that stands for a shared value: its number in the list
LEAST = 40  # characters of JSON below which a value is not shared


def factored(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines, with values that occur several times replaced by references to a list in an additional first line.

    Args:
        lines: JSON objects. Returned as they are if nothing is shared.
    """
    counted = Counter(text for line in lines for text in map(_text, _inside(line)) if len(text) >= LEAST)
    often = {text for text, count in counted.items() if count > 1}
    numbers: dict[str, int] = {}
    shorter = [_shortened(line, often, numbers) for line in lines]
    return [{SHARED: [json.loads(text) for text in numbers]}, *shorter] if numbers else lines


def restored(value: Any, shared: list[Any], source: str) -> Any:
    """A line as it was given to ``factored``: references are replaced by the shared values.

    Args:
        value: the line, or a part of it.
        shared: the list in the first line.
        source: what the error message begins with, file and line for example.
    Raises:
        UsageError: a reference is not in the list.
    """
    if isinstance(value, list):
        return [restored(each, shared, source) for each in value]
    if not isinstance(value, dict):
        return value
    if list(value) != [PLACE]:
        return {key: restored(each, shared, source) for key, each in value.items()}
    if not isinstance(value[PLACE], int) or not 0 <= value[PLACE] < len(shared):
        raise UsageError(f"{source}: names a shared entry that the file lacks ({value[PLACE]}); pack the runs again")
    return shared[value[PLACE]]


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _inside(value: Any) -> Iterator[Any]:
    """All objects, lists and strings inside a value, but not the value itself."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(each, (dict, list, str)):
            yield each
        yield from _inside(each)


def _shortened(value: Any, often: set[str], numbers: dict[str, int]) -> Any:
    if not isinstance(value, (dict, list, str)):
        return value
    text = _text(value)
    if text in often:
        return {PLACE: numbers.setdefault(text, len(numbers))}
    if isinstance(value, list):
        return [_shortened(each, often, numbers) for each in value]
    if isinstance(value, dict):
        return {key: _shortened(each, often, numbers) for key, each in value.items()}
    return value
