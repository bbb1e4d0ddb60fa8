"""The part of ``--help`` that is about methods. Imports no torch."""
from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn import registry
from utils.options import describe

if TYPE_CHECKING:
    from unlearn.registry import Method


def all_methods() -> str:
    """Every method with its other names, hyper-parameters and their defaults."""
    lines = ["unlearning methods (--unlearn NAME) and the hyper-parameters each reads; for transformers' defaults see --unlearn NAME --help:"]
    for name in registry.names():
        method = registry.get(name)
        lines.append(f"  {name:<11} {method.summary} ({_other_names(method)})")
        fields = [(f.name, f.default) for f in method.config.__dataclass_fields__.values()]
        words = [f"--{key}" if value is None or value is False else f"--{key} {describe(value)}" for key, value in fields]
        for start in range(0, len(words), 5):
            lines.append(f"  {'':<11} {'  '.join(words[start : start + 5])}")
    return "\n".join(lines)


def one_method(method: Method) -> str:
    """What a method is, reads and has presets for."""
    lines = [f"{method.name} ({_other_names(method)}): {method.summary}", f"reads {', '.join(sorted(method.reads)) or 'no images'}; {method.source}"]
    for preset, values in method.presets.items():
        words = "  ".join(f"--{key} {describe(value)}" for key, value in values.items())
        lines.append(f"--preset {preset}: {words or 'the defaults'}")
    return "\n".join(lines)


def _other_names(method: Method) -> str:
    others = [alias for alias in method.aliases if alias != method.paper]
    return method.paper + (f", also {', '.join(others)}" if others else "")
