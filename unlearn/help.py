"""The part of ``--help`` that is about methods. Imports no torch."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import textwrap
from typing import TYPE_CHECKING

from unlearn import registry
from utils.options import add_options, describe, wrapped

if TYPE_CHECKING:
    from unlearn.registry import Method

FAMILIES = {
    registry.Iterative: "methods that train by steps",
    registry.Salient: "methods that can be confined to salient weights",
}


def short() -> str:
    """One line for every method, and a hint on how to see more."""
    lines = ["methods (--unlearn NAME; --unlearn NAME --help shows what each is and reads):"]
    room = max(shutil.get_terminal_size().columns - 24, 40)
    for name in registry.names():
        lines.append(f"  {name:<18} {textwrap.shorten(registry.get(name).summary, room, placeholder=' ...')}")
    return "\n".join(lines)


def all_methods() -> str:
    """Every method with its source, other names and hyper-parameters.

    Hyper-parameters that a family of methods shares are shown once. A method shows only those that it adds or changes.
    """
    parts = ["hyper-parameters (for transformers' defaults, see --unlearn NAME --help)"]
    for family, title in FAMILIES.items():
        others = family.__mro__[1] if family.__mro__[1] in FAMILIES else None
        members = [name for name in registry.names() if issubclass(registry.get(name).config, family)]
        parts.append(wrapped(f"{title}: {', '.join(members)}") + "\n" + _flags(family, others))
    for name in registry.names():
        method = registry.get(name)
        nearest = next((family for family in reversed(FAMILIES) if issubclass(method.config, family)), None)
        parts.append(f"{_title(method, f' [{method.source}]')}\n{_flags(method.config, nearest)}".rstrip())
    return "\n\n".join(parts)


def one_method(method: Method) -> str:
    """Summary, image sets, source and presets of a method."""
    lines = [_title(method), wrapped(f"reads {', '.join(sorted(method.reads)) or 'no images'}; {method.source}", "  ")]
    for preset, values in method.presets.items():
        words = "  ".join(f"--{key} {describe(value)}" for key, value in values.items())
        lines.append(wrapped(f"--preset {preset}: {words or 'the defaults'}", "  "))
    return "\n".join([*lines, "", "--help all shows every other flag."])


def _title(method: Method, more: str = "") -> str:
    return wrapped(f"{method.name} ({_other_names(method)}): {method.summary}{more}", "  ")


def _flags(config: type, without: type | None) -> str:
    """The flags of ``config`` as argparse shows them, except those that are the same in ``without``."""
    kinds = (config, without or registry.NoOptions)
    declared, known = ({f.name: (f.default, f.metadata["help"]) for f in dataclasses.fields(kind)} for kind in kinds)
    own = {name for name, words in declared.items() if known.get(name) != words}
    parser = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    add_options(parser.add_argument_group(), config, negatable=True, shown=own)
    return parser.format_help().strip("\n")


def _other_names(method: Method) -> str:
    others = [alias for alias in method.aliases if alias != method.paper]
    return method.paper + (f", also {', '.join(others)}" if others else "")
