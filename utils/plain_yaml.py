"""Reads YAML files that people write: plain values without code, every key checked."""

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
        UsageError: the file is missing, no YAML, has tags that run code, has a key twice, or has aliases that expand
            to more than 2^20 values. The message names the file, and the line if it is known.
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
    """Refuse unknown keys.

    Args:
        source: what error messages begin with.
    Raises:
        UsageError: a key is unknown; the message names it, the nearest known key and all known ones.
    """
    for key in content:
        if key not in known:
            raise UsageError(f"{source}: {key}: unknown key{nearest(str(key), known)}; known: {', '.join(known)}")


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, where PyYAML would silently keep the last."""


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
    """The number of nodes with every alias expanded; infinite for a node that contains itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
