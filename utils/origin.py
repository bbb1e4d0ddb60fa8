"""What a checkpoint says of its making, and how a later run takes that over; no torch, because ``--help`` needs it.

Every checkpoint of ours carries the entry ``origin``, plain data: the flags that decide what the model is and on which
images it was trained. Whoever names the file need not type them again; what is typed and differs is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset import catalog
from dataset.catalog import canonical, with_validation
from utils.errors import UsageError

_TEXT, _SWITCH, _WHOLE = (str,), (bool,), (int, type(None))
_LIST = (list, tuple, type(None))
FIELDS: dict[str, tuple[type, ...]] = {
    "arch": _TEXT,
    "imagenet_arch": _SWITCH,
    "dataset": _TEXT,
    "input_size": _WHOLE,
    "stream": _SWITCH,
    "split_seed": _WHOLE,
    "mean": _LIST,
    "std": _LIST,
    "compat": _TEXT,
    "side": _WHOLE,
    "classes": _LIST,
    "folder": (str, type(None)),
}
ASKED = (
    "arch",
    "imagenet_arch",
    "dataset",
    "input_size",
    "stream",
    "mean",
    "std",
    "compat",
)  # what a later run must have in common
REFERENCE_SPLIT = 1  # the split seed of ``--compat reference`` where none is typed


def of(model: Any, data: Any, dataset: Any, compat: str, split_seed: int | None) -> dict[str, Any]:
    """The entry ``origin`` of a checkpoint.

    Args:
        model, data: the ``trainer.training_flags.Model`` and ``dataset.flags.Data`` of the run.
        dataset: the ``dataset.prepare.DatasetInfo`` that the model was trained on.
        split_seed: of its training and validation images; None if it was trained on all.
    """
    return {
        "arch": model.arch,
        "imagenet_arch": model.imagenet_arch,
        "dataset": dataset.source.name,
        "input_size": data.input_size,
        "stream": data.stream,
        "split_seed": split_seed,
        "mean": None if model.mean is None else list(model.mean),
        "std": None if model.std is None else list(model.std),
        "compat": compat,
        "side": dataset.side,
        "classes": list(dataset.names),
        "folder": dataset.root.resolve().name if dataset.files is not None else None,
    }


def check(entry: Mapping[str, Any]) -> str | None:
    """What is wrong with an ``origin`` entry, in words; None if nothing is."""
    for name, kinds in FIELDS.items():
        value = entry.get(name)
        if name in entry and (not isinstance(value, kinds) or isinstance(value, bool) and kinds is not _SWITCH):
            return f"origin: {name} is of type {type(value).__name__}; expected {kinds[0].__name__}"
        inner = (str,) if name == "classes" else (int, float)
        if isinstance(value, (list, tuple)) and not all(isinstance(each, inner) for each in value):
            return f"origin: {name} is no list of {'names' if name == 'classes' else 'numbers'}"
    return None


def facts(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's other entries say of its making, also those of older files, which have no ``origin``."""
    if isinstance(extra.get("origin"), Mapping):
        return (
            {name: extra["origin"][name] for name in FIELDS if name in extra["origin"]}
            if check(extra["origin"]) is None
            else {}
        )
    recipe = extra.get("recipe") if isinstance(extra.get("recipe"), Mapping) else {}
    parts = [part for part in (recipe.get("data"), recipe.get("model")) if isinstance(part, Mapping)]
    found = {
        name: part[name]
        for part in parts
        for name in ("dataset", "input_size", "stream", "arch", "imagenet_arch")
        if name in part
    }
    found |= {name: extra[name] for name in ("arch", "dataset", "split_seed", "compat") if name in extra}
    return found if check(found) is None else {}


@dataclass
class Inherited:
    """Flags as typed, and those that files add to them.

    Attributes:
        flags: by name, typed values as text.
        words: what was taken from which file, a phrase each.
    """

    flags: dict[str, Any]
    words: list[str] = field(default_factory=list)
    default_seed: int = 0
    _earlier: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def take(self, where: str, known: Mapping[str, Any], split: str = "tidy") -> None:
        """Add what one file knows.

        Args:
            where: the flag and the file.
            known: ``facts`` of the file, or what its weights tell.
            split: as for ``inherit``.
        Raises:
            UsageError: a flag or an earlier file says something else.
        """
        taken: dict[str, Any] = {}
        idle = {
            "compat": not _decides(known),
            "stream": with_validation(str(known.get("dataset"))) == "imagenet",
        }  # which is streamed in any case
        asked = {name: known[name] for name in ASKED if name in known and not idle.get(name)}
        for name, value in asked.items():
            if name in self._earlier:
                self._compare(where, name, value, known)
            else:
                taken |= self._size(where, value, known) if name == "input_size" else self._one(where, name, value)
        if known.get("split_seed") is not None and "split_seed" not in self._earlier:
            taken |= self._split(where, known["split_seed"], split)
            self._earlier["split_seed"] = where, known["split_seed"]
        self.flags |= taken
        self._earlier = {
            name: (where, _size_of(known) if name == "input_size" else value) for name, value in asked.items()
        } | self._earlier
        named = [name if value is True else f"{name} {_plain(value)}" for name, value in taken.items()]
        if named:
            self.words.append(f"{', '.join(named)}: from {where}")

    def _one(self, where: str, name: str, value: Any) -> dict[str, Any]:
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
            raise UsageError(f"--{name}: {where} was trained without it; leave --{name} out")
        raise _differs(where, name, given, value)

    def _same(self, name: str, given: Any, value: Any) -> bool:
        """Whether a flag may stand beside a file's value; statistics are compared with those that the weights hold."""
        if name == "dataset":  # whether a part validates is for the split's digest to say
            return with_validation(canonical(str(given))) == with_validation(str(value))
        hub = (
            name == "arch" and str(given).startswith("hf:") and str(value).startswith("hf:")
        )  # a folder may lie elsewhere now
        return hub or name in ("mean", "std") or _plain(given) == _plain(value)

    def _size(self, where: str, value: int | None, known: Mapping[str, Any]) -> dict[str, Any]:
        """The size as the file has it: typing the images' own size is the same as typing none."""
        if "input_size" not in self.flags:
            return {} if value is None else {"input_size": value}
        given, side = str(self.flags["input_size"]).strip(), _size_of(known)
        if side is None or not given.isdecimal():
            return {}
        if int(given) != side:
            raise _differs(where, "input_size", given, side)
        if value is None:
            del self.flags["input_size"]
        return {}

    def _compare(self, where: str, name: str, value: Any, known: Mapping[str, Any]) -> None:
        """Refuse two files that are not of the same model and data."""
        earlier, before = self._earlier[name]
        now = _size_of(known) if name == "input_size" else value
        if None not in (now, before) and not self._same(name, before, now):
            raise UsageError(
                f"{where}: was made with {name} {_plain(now)}, {earlier} with {_plain(before)}; "
                "give files of the same model and data"
            )

    def _split(self, where: str, value: int, split: str) -> dict[str, Any]:
        """The split seed, left out where it is what the run would take anyway, so that the run is the same one."""
        if "split" in self.flags:
            return {}
        given = self.flags.get("split_seed")
        seed = str(self.flags.get("seed", self.default_seed)).strip()
        default = (
            REFERENCE_SPLIT if self.flags.get("compat") == "reference" else int(seed) if seed.isdecimal() else None
        )
        if given is not None and _plain(given) != str(value):
            if split == "refuse":
                raise _differs(where, "split_seed", given, value)
            return {}
        if value == default:
            if split == "tidy":
                self.flags.pop("split_seed", None)
            return {}
        return {} if given is not None else {"split_seed": value}


def _differs(where: str, name: str, given: Any, value: Any) -> UsageError:
    return UsageError(
        f"--{name} {_plain(given)}: {where} was made with {name} {_plain(value)}; "
        f"leave --{name} out, or give another file"
    )


def _decides(known: Mapping[str, Any]) -> bool:
    """Whether ``--compat`` changes what the model computes: swin_t for CIFAR may leave its input as it is."""
    return known.get("arch") == "swin_t" and not known.get("imagenet_arch")


def _size_of(known: Mapping[str, Any]) -> int | None:
    """Side in pixels of the images that a model was trained on: as it says, or the data set's own."""
    side = known.get("input_size") or known.get("side")
    if side is None and "input_size" in known and catalog.is_known(str(known.get("dataset"))):
        return catalog.get(known["dataset"]).size
    return side


def inherit(
    typed: dict[str, Any], flags: tuple[str, ...], default_seed: int, read_files: bool = True, split: str = "tidy"
) -> Inherited:
    """The typed flags with what the named files know of the rest.

    A file that cannot be read says nothing here; whoever opens it for good says what is wrong with it.

    Args:
        typed: text by flag; switches are True.
        flags: those that name checkpoints, the first is the one to begin with.
        default_seed: ``--seed`` where it is not typed.
        read_files: False leaves everything as typed.
        split: what becomes of a typed ``--split_seed``: another than the file's is refused here ("refuse") or left to
            who compares the splits themselves; one that ``--seed`` means anyway stays ("keep") or goes ("tidy").
    Raises:
        UsageError: a flag that was typed says something else than a file, or one file than another.
    """
    found = Inherited(dict(typed), default_seed=default_seed)
    for flag in flags if read_files else ():
        if not isinstance(typed.get(flag), str):
            continue
        from utils import checkpoints

        where, seen = f"--{flag} {typed[flag]}", checkpoints.peek(Path(typed[flag]), bool(typed.get("allow_pickle")))
        if seen is not None:
            known = facts(seen.extra)
            found.take(where, known, split)
            _from_weights(found, where, known, seen.shapes)
            _check_place(found, where, known)
    return found


def _from_weights(
    found: Inherited, where: str, known: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """What the weights themselves tell where nothing else does: architecture, and a transformer's side of images."""
    import models

    guessed: dict[str, Any] = {}
    if "arch" not in found.flags and shapes:
        guesses = models.guesses(shapes)
        if len(guesses) == 1:
            guessed = {"arch": guesses[0][0], "imagenet_arch": guesses[0][1]}
    if "input_size" not in known and "input_size" not in found.flags:
        side = models.side(shapes)
        guessed |= {} if side is None else {"input_size": side}
    if guessed:
        found.take(f"the weights of {where}", guessed)


def _check_place(found: Inherited, where: str, known: Mapping[str, Any]) -> None:
    """Ask for the folder of a tree of images, which no checkpoint knows on this machine.

    Raises:
        UsageError: says what was trained on.
    """
    from dataset.locate import find_root
    from dataset.tree import is_tree

    if (
        with_validation(str(known.get("dataset"))) != "folder"
        or "data" in found.flags
        or is_tree(find_root(catalog.get("folder"), None))
    ):
        return
    classes = [str(name) for name in known.get("classes") or ()]
    names = (
        f", {len(classes)} classes ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})" if classes else ""
    )
    folder = f" called {known['folder']}" if known.get("folder") else ""
    raise UsageError(f"--data DIR is needed: {where} was trained on a folder of images{folder}{names}")


def classes_differ(extra: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """How a model's classes differ from a data set's, in words; None if they do not or the model does not say.

    Args:
        extra: the checkpoint's other entries.
        names: the data set's classes in the order of their numbers.
    """
    trained = facts(extra).get("classes")
    if not trained or tuple(trained) == tuple(names):
        return None
    if len(trained) != len(names):
        return f"was trained on {len(trained)} classes, this data set has {len(names)}"
    number = next(number for number, (one, other) in enumerate(zip(trained, names)) if one != other)
    return f"was trained with class {number} = {trained[number]}, in this data set class {number} is {names[number]}"


def _plain(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, (list, tuple)):
        return ",".join(f"{part:g}" for part in value)
    return str(int(value)) if isinstance(value, float) and math.isfinite(value) and value == int(value) else str(value)
