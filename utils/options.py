"""From a dataclass field to a flag: one declaration gives type, default, range, help and error.

A configuration is a frozen dataclass whose fields are made by ``option``. ``add_options`` puts
its flags on a parser, ``build`` makes an instance from what was typed. Values are converted and
checked here rather than by argparse, so that every error names flag, value and what is allowed.
"""
from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from utils import files
from utils.errors import UsageError
from utils.names import nearest

Config = TypeVar("Config")


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    metavar: str | None = None,
    aliases: tuple[str, ...] = (),
    search: tuple | list | None = None,
) -> Any:
    """A dataclass field that is a flag.

    Args:
        default: value when the flag is absent.
        help: one phrase, with the unit where there is one.
        low, above, high, below: bounds ``low <= value``, ``above < value``, ``value <= high``, ``value < below``.
        choices: the only values allowed.
        aliases: other names of the flag, without dashes.
        search: where a search looks for good values, ``(low, high, "log" or "linear")`` or a list of values; no part of the flag.
    """
    metadata = {
        "help": help, "low": low, "above": above, "high": high, "below": below, "choices": choices, "metavar": metavar, "search": search,
        "aliases": aliases,
    }
    return dataclasses.field(default=default, metadata=metadata)


def changed(config: type, name: str, default: Any, **metadata: Any) -> Any:
    """The field ``name`` of ``config`` with another default (and another ``help``, ``search``, ...), for a class derived from it."""
    field = next(field for field in dataclasses.fields(config) if field.name == name)
    return dataclasses.field(default=default, metadata={**field.metadata, **metadata})


class Parser(argparse.ArgumentParser):
    """An argument parser that reports every problem as one ``UsageError`` and takes ``--a-b`` for ``--a_b``."""

    def __init__(self, **kwargs: Any):
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def error(self, message: str) -> typing.NoReturn:
        raise UsageError(message.removeprefix("argument "))

    def asks_about(self, flag: str, argv: list[str] | None) -> str | None:
        """The value of ``flag`` where ``--help`` is asked for beside it; None otherwise."""
        words = _typed(argv)
        if not {"-h", "--help"} & set(words):
            return None
        peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        peek.add_argument(f"--{flag}", nargs="?")
        return vars(peek.parse_known_args(words)[0])[flag]

    def read(self, argv: list[str] | None) -> dict[str, Any]:
        """What was typed, by flag name; flags that were not typed are absent."""
        known, unknown = self.parse_known_args(_typed(argv))
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            word = unknown[0].split("=")[0]
            raise UsageError(f"{word}: unknown flag{nearest(word, flags)}; --help lists all")
        return vars(known)


def _typed(argv: list[str] | None) -> list[str]:
    """The command line, where ``@FILE`` stands for the arguments in a file, and hyphens for underscores."""
    words = sys.argv[1:] if argv is None else argv
    return _underscored([part for word in words for part in (_from_file(word) if word.startswith("@") else [word])])


def _from_file(word: str) -> list[str]:
    """Arguments as a shell would read them; in every line a leading ``python x.py`` is skipped."""
    import shlex

    found = []
    for line in files.read_text(Path(word[1:]), word, most=1 << 20).splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UsageError(f"{word}: {error}") from None
        found += words[next((i for i, part in enumerate(words) if part.startswith("--")), len(words)):]
    return found


def _underscored(words: list[str]) -> list[str]:
    """``--no-aug`` and ``--no_aug`` are the same flag."""
    result = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            word = "--" + name.replace("-", "_") + equals + value
        result.append(word)
    return result


def add_options(group: argparse._ArgumentGroup, config: type, show_default: bool = True, negatable: bool = False, beside: Mapping[str, str] | None = None) -> None:
    """Add one flag per field of ``config`` to a group of a parser, skipping those the parser has.

    Args:
        negatable: whether a switch takes ``false`` after it, for configurations whose defaults may be on.
        beside: by field, what else is said where the default is shown.
    """
    taken = {flag for action in group._actions for flag in action.option_strings}
    for field in dataclasses.fields(config):
        flag = f"--{field.name}"
        if flag in taken:
            continue
        words = [describe(field.default)] if show_default and _shown(field) else []
        words += [beside[field.name]] if field.name in (beside or {}) else []
        text = field.metadata["help"] + (f" ({'; '.join(words)})" if words else "")
        if _types(config, field)[0] is bool:
            kind = {"nargs": "?", "const": True, "metavar": "false"} if negatable else {"action": "store_true"}
            group.add_argument(flag, default=argparse.SUPPRESS, help=text, **kind)
        else:
            choices = field.metadata["choices"]
            metavar = field.metadata["metavar"] or ("{" + ",".join(choices) + "}" if choices else _types(config, field)[0].__name__.upper())
            others = [f"--{alias}" for alias in field.metadata["aliases"]]
            group.add_argument(flag, *others, dest=field.name, default=argparse.SUPPRESS, help=text.replace("%", "%%"), metavar=metavar)


def _shown(field: dataclasses.Field) -> bool:
    return field.default is not None and field.default is not False


def describe(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, tuple):
        return ",".join(describe(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def build(config: type[Config], typed: dict[str, Any]) -> Config:
    """An instance of ``config`` from what was typed, checked, with defaults for the rest.

    Raises:
        UsageError: a value of the wrong type, out of range or not among the choices.
    """
    values = {}
    for field in dataclasses.fields(config):
        if field.name in typed:
            values[field.name] = _convert(field, *_types(config, field), typed[field.name])
    return config(**values)


def value_type(config: type, name: str) -> type | None:
    """What one value of the flag ``name`` is converted to; None if ``config`` has no such flag."""
    field = next((field for field in dataclasses.fields(config) if field.name == name), None)
    return None if field is None else _types(config, field)[1]


_hints = functools.cache(typing.get_type_hints)  # which evaluates every annotation anew


def _types(config: type, field: dataclasses.Field) -> tuple[type, type]:
    """The field's type (for an optional one, the type that is not None) and, for a tuple, that of its members."""
    hint = _hints(config)[field.name]
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    kind = typing.get_origin(hint) or hint
    return kind, typing.get_args(hint)[0] if kind is tuple else kind


def _convert(field: dataclasses.Field, kind: type, member: type, text: Any) -> Any:
    if not isinstance(text, str):
        return text
    meta = field.metadata
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"--{field.name} {text}: must be true or false, or stand alone for true")
        return text.lower() == "true"
    if meta["choices"]:
        if text not in meta["choices"]:
            raise UsageError(
                f"--{field.name} {text}: unknown{nearest(text, meta['choices'])}; known: {', '.join(meta['choices'])}"
            )
        return text
    try:
        value = tuple(member(part) for part in text.split(",") if part) if kind is tuple else kind(text)
    except ValueError:
        words = {int: ("a whole number", "whole numbers"), float: ("a number", "numbers")}.get(member, (member.__name__,) * 2)
        expected = f"{words[1]} with commas between" if kind is tuple else words[0]
        raise UsageError(f"--{field.name} {text}: must be {expected}") from None
    if value == () and field.default:
        raise UsageError(f"--{field.name} {text}: must have at least one value")
    for number in () if member is str else value if kind is tuple else (value,):
        if not _within(number, meta):
            raise UsageError(f"--{field.name} {text}: must be {_bounds(meta)}")
    return value


def _within(number: float, meta: typing.Mapping[str, Any]) -> bool:
    """Written so that NaN is outside of every range; infinity always is."""
    return (
        math.isfinite(number)
        and (meta["low"] is None or number >= meta["low"])
        and (meta["above"] is None or number > meta["above"])
        and (meta["high"] is None or number <= meta["high"])
        and (meta["below"] is None or number < meta["below"])
    )


def _bounds(meta: typing.Mapping[str, Any]) -> str:
    words = {"low": "at least", "above": "more than", "high": "at most", "below": "less than"}
    parts = [f"{word} {describe(meta[key])}" for key, word in words.items() if meta[key] is not None]
    return " and ".join(parts) or "a finite number"
