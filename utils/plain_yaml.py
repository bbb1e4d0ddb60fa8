"""YAML files that people write: plain values without code, with every key checked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from utils import files
from utils.errors import UsageError
from utils.names import nearest

MOST = 1 << 20  # bytes of a file, and values in it


def read(path: Path) -> Any:
    """The content of a YAML file of at most 1 MiB.

    Raises:
        UsageError: names the file and, where there is one, the line: it is missing, no YAML, has tags that run code, a
            key given twice, or aliases that make it larger than 2^20 values.
    """
    text = files.read_text(path, str(path), "YAML file", MOST)
    try:
        return _parsed(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # a wrong date is a ValueError
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        reason = getattr(error, "problem", error)
        raise UsageError(f"{path}: is no YAML of plain values{line}: {reason}") from error


def check_keys(content: dict[str, Any], known: Iterable[str], source: str) -> None:
    """Refuse unknown keys. Raises UsageError: names the place, the key, the nearest one and all known ones."""
    for key in content:
        if key not in known:
            raise UsageError(f"{source}: {key}: unknown key{nearest(str(key), known)}; known: {', '.join(known)}")


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, of which one would be lost."""


def _unique(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [loader.construct_object(key) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise yaml.constructor.ConstructorError(problem=f"{twice} is given twice", problem_mark=node.start_mark)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique)


def _parsed(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if _size(node, {}) > MOST:
            raise yaml.YAMLError("its aliases make it larger than it can be")
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _size(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Nodes that there are once every alias is written out; infinite for one that holds itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
