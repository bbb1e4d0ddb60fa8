"""Values that a run takes over from the entry ``origin`` of its checkpoints. Imports no torch, for ``--help``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset import catalog
from dataset.catalog import base_name, canonical
from trainer.origin import facts
from utils.errors import UsageError

# flags whose values a run must share with the checkpoints that it uses
ASKED = ("arch", "imagenet_arch", "dataset", "superclasses", "input_size", "stream", "mean", "std", "compat")
REFERENCE_SPLIT = 1  # the split seed of ``--compat reference`` where none is typed


@dataclass
class Inherited:
    """Flags as typed, completed by values from checkpoint files.

    Attributes:
        flags: values by name; typed ones are text.
        notes: what was taken from which file, a phrase each.
        default_seed: the seed if ``--seed`` is not typed.
    """

    flags: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    default_seed: int = 0
    _earlier: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def take(self, source: str, origin: Mapping[str, Any], split: str = "tidy") -> None:
        """Add the values of one file.

        Args:
            source: the flag and the file, for notes and errors.
            origin: values by name from the file: ``origin.facts``, or what its weights tell.
            split: what becomes of a typed ``--split_seed``, see ``inherit``.
        Raises:
            UsageError: a typed flag or an earlier file has another value.
        """
        taken: dict[str, Any] = {}
        always_streamed = base_name(str(origin.get("dataset"))) == "imagenet"
        idle = {"compat": not _decides(origin), "stream": always_streamed}
        asked = {name: origin[name] for name in ASKED if name in origin and not idle.get(name)}
        for name, value in asked.items():
            if name in self._earlier:
                self._compare(source, name, value, origin)
            else:
                taken |= self._size(source, value, origin) if name == "input_size" else self._one(source, name, value)
        if origin.get("split_seed") is not None and "split_seed" not in self._earlier:
            taken |= self._split(source, origin["split_seed"], split)
            self._earlier["split_seed"] = source, origin["split_seed"]
        self.flags |= taken
        sized = {**asked, "input_size": _size_of(origin)} if "input_size" in asked else asked
        self._earlier = {name: (source, value) for name, value in sized.items()} | self._earlier
        named = [name if value is True else f"{name} {_plain(value)}" for name, value in taken.items()]
        if named:
            self.notes.append(f"{', '.join(named)}: from {source}")

    def _one(self, source: str, name: str, value: Any) -> dict[str, Any]:
        if name not in self.flags:
            return {} if value is None or value is False else {name: tuple(value) if name in ("mean", "std") else value}
        given = self.flags[name]
        if (
            self._same(name, given, value) or name == "dataset" and not catalog.is_known(str(given))
        ):  # which is refused later
            return {}
        if name == "arch":
            import models

            models.check(str(given))
        if value is False or given is True:
            raise UsageError(f"--{name}: {source} was trained without it; leave --{name} out")
        raise _differs(source, name, given, value)

    def _same(self, name: str, given: Any, value: Any) -> bool:
        """Whether a typed value agrees with a file's.

        Statistics always do here; they are compared with those in the weights later.
        """
        if name == "dataset":  # with or without _no_val: the split's digest tells this difference later
            return base_name(canonical(str(given))) == base_name(str(value))
        # a folder may lie elsewhere now
        hub = name == "arch" and str(given).startswith("hf:") and str(value).startswith("hf:")
        moved = name == "superclasses" and value is not None  # classes that differ are refused later
        return hub or moved or name in ("mean", "std") or _plain(given) == _plain(value)

    def _size(self, source: str, value: int | None, origin: Mapping[str, Any]) -> dict[str, Any]:
        """The file's ``--input_size``. Typing the images' own size counts as typing none, so it is removed."""
        if "input_size" not in self.flags:
            return {} if value is None else {"input_size": value}
        given, side = str(self.flags["input_size"]).strip(), _size_of(origin)
        if side is None or not given.isdecimal():
            return {}
        if int(given) != side:
            raise _differs(source, "input_size", given, side)
        if value is None:
            del self.flags["input_size"]
        return {}

    def _compare(self, source: str, name: str, value: Any, origin: Mapping[str, Any]) -> None:
        """Refuse a file whose value differs from that of an earlier file."""
        earlier, before = self._earlier[name]
        now = _size_of(origin) if name == "input_size" else value
        if None not in (now, before) and not self._same(name, before, now):
            hint = "give files of the same model and data"
            raise UsageError(f"{source}: was made with {name} {_plain(now)}, {earlier} with {_plain(before)}; {hint}")

    def _split(self, source: str, value: int, split: str) -> dict[str, Any]:
        """The file's split seed; nothing if the run has this seed anyway, so that its fingerprint does not change."""
        if "split" in self.flags:
            return {}
        given = self.flags.get("split_seed")
        seed = str(self.flags.get("seed", self.default_seed)).strip()
        own = int(seed) if seed.isdecimal() else None
        default = REFERENCE_SPLIT if self.flags.get("compat") == "reference" else own
        if given is not None and _plain(given) != str(value):
            if split == "refuse":
                raise _differs(source, "split_seed", given, value)
            return {}
        if value == default:
            if split == "tidy":
                self.flags.pop("split_seed", None)
            return {}
        return {} if given is not None else {"split_seed": value}


def _differs(source: str, name: str, given: Any, value: Any) -> UsageError:
    reason = f"{source} was made with {name} {_plain(value)}; leave --{name} out, or give another file"
    return UsageError(f"--{name} {_plain(given)}: {reason}")


def _decides(origin: Mapping[str, Any]) -> bool:
    """Whether ``--compat`` changes what the model computes, as for swin_t for CIFAR, which may skip normalisation."""
    return origin.get("arch") == "swin_t" and not origin.get("imagenet_arch")


def _size_of(origin: Mapping[str, Any]) -> int | None:
    """Side in pixels of the images that a model was trained on: recorded, or the data set's own; None if unknown."""
    side = origin.get("input_size") or origin.get("side")
    if side is None and "input_size" in origin and catalog.is_known(str(origin.get("dataset"))):
        return catalog.get(origin["dataset"]).size
    return side


def inherit(
    typed: dict[str, Any], flags: tuple[str, ...], default_seed: int, read_files: bool = True, split: str = "tidy"
) -> Inherited:
    """The typed flags, completed by values that were not typed from the checkpoints that they name.

    A file that cannot be read is ignored here, since opening it later raises the error.

    Args:
        typed: text by flag; switches are True.
        flags: names of the flags that name checkpoints; the first one names the starting checkpoint.
        default_seed: the seed if ``--seed`` is not typed.
        read_files: False leaves everything as typed.
        split: what becomes of a typed ``--split_seed``. "refuse" raises an error if it differs from the file's; the
            others leave this to the comparison of the splits. "tidy" removes it if it is the default anyway, "keep"
            keeps it.
    Raises:
        UsageError: a typed value differs from a file's, or the values of two files differ.
    """
    inherited = Inherited(dict(typed), default_seed=default_seed)
    for flag in flags if read_files else ():
        if not isinstance(typed.get(flag), str):
            continue
        from trainer import checkpoints

        source, seen = f"--{flag} {typed[flag]}", checkpoints.peek(Path(typed[flag]), bool(typed.get("allow_pickle")))
        if seen is not None:
            origin = facts(seen.extra)
            inherited.take(source, origin, split)
            _from_weights(inherited, source, origin, seen.shapes)
            _check_place(inherited, source, origin)
    return inherited


def _from_weights(
    inherited: Inherited, source: str, origin: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Take the architecture, and a transformer's image side, from the weights if neither flags nor file name them."""
    import models

    guessed: dict[str, Any] = {}
    if "arch" not in inherited.flags and shapes:
        guesses = models.guesses(shapes)
        if len(guesses) == 1:
            guessed = {"arch": guesses[0][0], "imagenet_arch": guesses[0][1]}
    if "input_size" not in origin and "input_size" not in inherited.flags:
        side = models.side(shapes)
        guessed |= {} if side is None else {"input_size": side}
    if guessed:
        inherited.take(f"the weights of {source}", guessed)


def _check_place(inherited: Inherited, source: str, origin: Mapping[str, Any]) -> None:
    """Refuse to go on without ``--data`` if a model was trained on a folder of images that is not found.

    Raises UsageError: describes the folder that the model was trained on.
    """
    from dataset.locate import find_root
    from dataset.tree import is_tree

    if (
        base_name(str(origin.get("dataset"))) != "folder"
        or "data" in inherited.flags
        or is_tree(find_root(catalog.get("folder"), None))
    ):
        return
    classes = [str(name) for name in origin.get("classes") or ()]
    listed = f"{', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}"
    names = f", {len(classes)} classes ({listed})" if classes else ""
    folder = f" called {origin['folder']}" if origin.get("folder") else ""
    raise UsageError(f"--data DIR is needed: {source} was trained on a folder of images{folder}{names}")


def _plain(value: Any) -> str:
    """A value as text, as it would be typed."""
    if isinstance(value, (list, tuple)):
        return ",".join(f"{part:g}" for part in value)
    return str(int(value)) if isinstance(value, float) and math.isfinite(value) and value == int(value) else str(value)
