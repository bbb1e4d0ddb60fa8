"""Flags as dataclass fields: one declaration gives type, default, range, help and error message.

A configuration is a frozen dataclass whose fields are made by ``option``. ``add_options`` adds its flags to a parser,
``build`` makes an instance from the typed values. Values are converted and checked here rather than by argparse, so
that every error names flag, value and what is allowed.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import operator
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from utils import parallel
from utils.errors import UsageError
from utils.names import nearest
from utils.words import AS_TYPED, Word, expanded, source_of

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from typing_extensions import Unpack

Config = TypeVar("Config", bound="DataclassInstance")


class Declaration(typing.TypedDict, total=False):
    """What can be declared of a flag.

    Attributes:
        low, above, high, below: bounds ``low <= value``, ``above < value``, ``value <= high``, ``value < below``.
        choices: the only values allowed.
        metavar: the placeholder for the value in ``--help``.
        aliases: other names of the flag, without dashes.
        search: the range of a search for good values, ``(low, high, "log" or "linear")``, or a list of values.
        common: whether the short ``--help`` shows the flag; a text replaces ``help`` there.
        bare: the value if the flag is typed without one.
        identity: whether the value is part of a run's identity because it decides its numbers; "changed" if it is part
            only where it differs from the default.
    """

    low: float
    above: float
    high: float
    below: float
    choices: tuple[str, ...]
    metavar: str
    aliases: tuple[str, ...]
    search: tuple | list
    common: bool | str
    bare: str
    identity: bool | str


BOUNDS = {
    "low": ("at least", operator.ge),
    "above": ("more than", operator.gt),
    "high": ("at most", operator.le),
    "below": ("less than", operator.lt),
}
UNDECLARED = {**dict.fromkeys(Declaration.__annotations__), "aliases": (), "common": False, "identity": True}


def option(default: Any, help: str, **declared: Unpack[Declaration]) -> Any:
    """A dataclass field that is a flag.

    Args:
        default: the value if the flag is not typed.
        help: one phrase, with the unit of the value.
        declared: see ``Declaration``.
    """
    return dataclasses.field(default=default, metadata={"help": help, **UNDECLARED, **declared})


def file_option(help: str, **declared: Unpack[Declaration]) -> Any:
    """A dataclass field that is a flag for a file or folder, with default None. Its path is no part of the identity."""
    own = {"metavar": "FILE", "identity": False}
    return dataclasses.field(default=None, metadata={"help": help, **UNDECLARED, **own, **declared})


def changed(config: type, name: str, default: Any, **metadata: Any) -> Any:
    """A field for another class, copied from the field ``name`` of ``config`` with another default.

    Args:
        metadata: entries of ``Declaration``, or ``help``, that differ from the original.
    """
    field = next(field for field in dataclasses.fields(config) if field.name == name)
    return dataclasses.field(default=default, metadata={**field.metadata, **metadata})


NO_IDENTITY = {"identity": False}  # metadata of a field that decides no number


def identity(config: Any) -> Any:
    """The part of a configuration that decides a run's numbers: fields by name, as plain data.

    Args:
        config: a dataclass of flags, or one that holds several; any other value is returned unchanged.
    """
    if not dataclasses.is_dataclass(config):
        return config
    return {
        field.name: identity(value)
        for field in dataclasses.fields(config)
        if (decides := field.metadata.get("identity", True))
        and ((value := getattr(config, field.name)) != field.default or decides is True)
    }


SEVERAL = ("class_to_replace", "indexes_to_replace")  # flags of several values, whose repetition may be meant to add up


class Parser(argparse.ArgumentParser):
    """An argument parser that reports every problem as a ``UsageError``, and accepts ``--a-b`` for ``--a_b``.

    Words ``@FILE`` on the command line are replaced by the words in the file, see ``utils.words``.
    """

    def __init__(self, **kwargs: Any):
        plain = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, add_help=False, formatter_class=plain, **kwargs)
        self.add_argument("-h", "--help", action="help", help="show this; --help all shows every flag")

    def error(self, message: str) -> typing.NoReturn:
        raise UsageError(message.removeprefix("argument "))

    def help_topic(self, argv: list[str] | None) -> str | None:
        """The word behind ``--help``, "all" for example; empty if there is none, None without ``--help``."""
        typed = self._typed(argv)[0]
        at = next((number for number, word in enumerate(typed) if word in ("-h", "--help")), None)
        if at is None:
            return None
        behind = next(iter(typed[at + 1 :]), "")
        return "" if behind.startswith("-") else behind

    def asks_about(self, flag: str, argv: list[str] | None) -> str | None:
        """The typed value of ``flag`` (without dashes); None if it is not typed."""
        peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        peek.add_argument(f"--{flag}", nargs="?")
        return vars(peek.parse_known_args(self._typed(argv)[0])[0])[flag]

    def read(self, argv: list[str] | None) -> dict[str, Any]:
        """The typed values by flag name; flags that were not typed are absent.

        Args:
            argv: words of the command line; None for those of this process.
        Raises:
            UsageError: a word is neither a flag nor a flag's value, a flag contradicts itself, or a file of arguments
                cannot be used (``utils.words.expanded``).
        """
        typed, left_out = self._typed(argv)
        for line in left_out if parallel.is_main() else ():
            print(f"warning: {line}", file=sys.stderr, flush=True)
        known, unknown = self.parse_known_args(typed)
        if unknown:
            self._refuse(next((word for word in typed if word == unknown[0]), unknown[0]))
        self._check_repeated(typed)
        flags = [word for word in typed if word.startswith("--")]
        places = {flag.partition("=")[0]: flag.place if isinstance(flag, Word) else "" for flag in flags}
        options = [(action.dest, flag) for action in self._actions for flag in action.option_strings]
        placed = {name: places[flag] for name, flag in options if places.get(flag)}
        return {
            name: Word(value, placed[name]) if isinstance(value, str) and name in placed else value
            for name, value in vars(known).items()
        }

    def _check_repeated(self, typed: list[str]) -> None:
        """Refuse two values of one flag where argparse would silently take the last, though both may be meant.

        These are two names of a flag with different values, and a flag of ``SEVERAL`` that is typed twice.
        """
        names = {flag: action.dest for action in self._actions for flag in action.option_strings}
        seen: dict[str, tuple[str, str]] = {}
        for word, behind in zip(typed, [*typed[1:], ""]):
            flag, equals, value = word.partition("=")
            value = value if equals or behind.startswith("--") else behind
            name = names.get(flag)
            if name is None:
                continue
            before, other = seen.setdefault(name, (flag, value))
            if before != flag and other != value:
                raise UsageError(f"{before} {other} and {flag} {value} are the same flag by two names; give one")
            if name in SEVERAL and other != value:
                raise UsageError(f"{flag} is there twice; write {flag} {other},{value} if both are meant")
            seen[name] = flag, value

    def _refuse(self, word: str) -> typing.NoReturn:
        place, name = source_of(word), word.partition("=")[0]
        if not word.startswith("-"):
            raise UsageError(f"{place}{word}: belongs to no flag; {AS_TYPED}")
        flags = [flag for action in self._actions for flag in action.option_strings]
        raise UsageError(f"{place}{name}: unknown flag{nearest(name, flags)}; --help all lists all")

    def _typed(self, argv: list[str] | None) -> tuple[list[str], list[str]]:
        """The command line with files expanded and underscores in flags, and what was left out of the files."""
        typed, left_out = expanded(sys.argv[1:] if argv is None else argv, self.prog)
        return _underscored(typed), left_out


def _underscored(typed: list[str]) -> list[str]:
    """The words with underscores for hyphens in the names of flags: ``--no_aug`` for ``--no-aug``."""
    result = []
    for word in typed:
        if word.startswith("--") and "-" in word[2:]:
            name, equals, value = word[2:].partition("=")
            spelt = "--" + name.replace("-", "_") + equals + value
            word = Word(spelt, word.place) if isinstance(word, Word) else spelt
        result.append(word)
    return result


def add_options(
    group: argparse._ActionsContainer,
    config: type,
    show_default: bool = True,
    negatable: bool = False,
    beside: Mapping[str, str] | None = None,
    short: bool = False,
    shown: Collection[str] | None = None,
) -> None:
    """Add a flag for each field of ``config`` to a group of a parser, without those that the parser has already.

    Args:
        show_default: whether ``--help`` shows defaults.
        negatable: whether a switch takes ``false`` after it, for configurations whose defaults may be on.
        beside: by field, text that ``--help`` shows beside the default.
        short: whether ``--help`` shows only ``common`` flags, with their short texts.
        shown: names of the flags that ``--help`` shows; None for all.
    """
    taken = {flag for action in group._actions for flag in action.option_strings}
    for field in dataclasses.fields(config):
        flag, meta = f"--{field.name}", field.metadata
        if flag in taken:
            continue
        shows = show_default and field.default is not None and field.default is not False
        defaults = [describe(field.default)] if shows else []
        defaults += [beside[field.name]] if beside and field.name in beside else []
        phrase = meta["common"] if short and isinstance(meta["common"], str) else meta["help"]
        text = (phrase + (f" ({'; '.join(defaults)})" if defaults else "")).replace("%", "%%")
        if (shown is not None and field.name not in shown) or (short and not meta["common"]):
            text = argparse.SUPPRESS
        others = [] if short else [f"--{alias}" for alias in meta["aliases"]]
        kind = _kind(config, field, negatable)
        group.add_argument(flag, *others, dest=field.name, default=argparse.SUPPRESS, help=text, **kind)


def _kind(config: type, field: dataclasses.Field, negatable: bool) -> dict[str, Any]:
    """The arguments of ``add_argument`` that concern a flag's values."""
    choices, metavar, bare = (field.metadata[key] for key in ("choices", "metavar", "bare"))
    if _types(config, field)[0] is bool:
        return {"nargs": "?", "const": True, "metavar": "false"} if negatable else {"action": "store_true"}
    shown = metavar or ("{" + ",".join(choices) + "}" if choices else _types(config, field)[0].__name__.upper())
    return {"metavar": shown} | ({} if bare is None else {"nargs": "?", "const": bare})


def wrapped(text: str, indent: str = "") -> str:
    """A line of help wrapped to the width of the terminal as by argparse; further lines begin with ``indent``."""
    width = max(shutil.get_terminal_size().columns - 2, 40)
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False)


def describe(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, tuple):
        return ",".join(describe(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def build(config: type[Config], typed: dict[str, Any]) -> Config:
    """An instance of ``config`` with the typed values, converted and checked, and defaults for the other fields.

    Args:
        typed: what ``Parser.read`` returned; values that are no texts are taken as they are.
    Raises:
        UsageError: a value is of the wrong type, out of range or not among the choices.
    """
    values = {}
    for field in dataclasses.fields(config):
        if field.name in typed:
            text = typed[field.name]
            try:
                values[field.name] = _convert(field, *_types(config, field), text)
            except UsageError as error:
                raise UsageError(f"{source_of(text)}{error}") from None
    return config(**values)


def value_type(config: type, name: str) -> type | None:
    """The type to which a value of the flag ``name`` is converted; None if ``config`` has no such flag."""
    field = next((field for field in dataclasses.fields(config) if field.name == name), None)
    return None if field is None else _types(config, field)[1]


_hints = functools.cache(typing.get_type_hints)  # cached, as it evaluates all annotations in every call


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
    if kind is str and not text.strip():  # a shell variable that is not set leaves an empty word
        raise UsageError(f"--{field.name}: must not be empty")
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"--{field.name} {text}: must be true or false, or stand alone for true")
        return text.lower() == "true"
    if meta["choices"]:
        if text not in meta["choices"]:
            reason = f"known: {', '.join(meta['choices'])}"
            raise UsageError(f"--{field.name} {text}: unknown{nearest(text, meta['choices'])}; {reason}")
        return str(text)
    try:
        value = tuple(member(part) for part in text.split(",") if part) if kind is tuple else kind(text)
    except ValueError:
        kinds = {int: ("a whole number", "whole numbers"), float: ("a number", "numbers")}
        words = kinds.get(member, (member.__name__,) * 2)
        expected = f"{words[1]} with commas between" if kind is tuple else words[0]
        raise UsageError(f"--{field.name} {text}: must be {expected}") from None
    if value == () and field.default:
        raise UsageError(f"--{field.name} {text}: must have at least one value")
    for number in () if member is str else value if kind is tuple else (value,):
        if not _within(number, meta):
            raise UsageError(f"--{field.name} {text}: must be {_bounds(meta)}")
    return value


def _within(number: float, meta: Mapping[str, Any]) -> bool:
    """Whether a number is finite and within the declared bounds."""
    kept = (keeps(number, meta[key]) for key, (_, keeps) in BOUNDS.items() if meta[key] is not None)
    return math.isfinite(number) and all(kept)


def _bounds(meta: Mapping[str, Any]) -> str:
    parts = [f"{words} {describe(meta[key])}" for key, (words, _) in BOUNDS.items() if meta[key] is not None]
    return " and ".join(parts) or "a finite number"
