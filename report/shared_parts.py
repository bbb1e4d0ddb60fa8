"""Objects that many lines of a packed file have in common, written once. Imports neither torch nor pandas."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from utils.errors import UsageError

SHARED = "shared"  # the entry of a line that lists what is shared
PLACE = "$shared"  # the only entry of an object that stands for one of the list, by its number
LEAST = 40  # characters below which an object is written again


def factored(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with every object that two or more places share written in a line of its own in front."""
    counted = Counter(text for line in lines for text in map(_text, _objects(line)) if len(text) >= LEAST)
    often = {text for text, count in counted.items() if count > 1}
    numbers: dict[str, int] = {}
    shorter = [_shortened(line, often, numbers) for line in lines]
    return [{SHARED: [json.loads(text) for text in numbers]}, *shorter] if numbers else lines


def restored(value: Any, shared: list[Any], source: str) -> Any:
    """What ``factored`` was given.

    Args:
        shared: the list of the line in front.
        source: begins the error.
    Raises:
        UsageError: a number that the list does not have.
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


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects inside a value, but not the value itself."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield each
        yield from _objects(each)


def _shortened(value: Any, often: set[str], numbers: dict[str, int]) -> Any:
    if isinstance(value, list):
        return [_shortened(each, often, numbers) for each in value]
    if not isinstance(value, dict):
        return value
    text = _text(value)
    if text in often:
        return {PLACE: numbers.setdefault(text, len(numbers))}
    return {key: _shortened(each, often, numbers) for key, each in value.items()}
