"""Reads and checks a sweep's file, which is plain YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep import axes
from utils import plain_yaml
from utils.errors import UsageError
from utils.names import nearest
from utils.plain_yaml import check_keys

LABEL = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*")
LEAST = {"gpus": 0, "cpus": 1, "time": 1, "cells_per_process": 1, "cells_per_job": 1}  # least values in resources
RESOURCES = {**LEAST, "partition": "", "slurm": {}}  # for the others, a value of the right type
OWN = {  # flags that a file must not give, because the sweep sets them
    "seed": "seeds say it",
    "train_seed": "seeds say it",
    "save_dir": "folder says it",
    "dry_run": "type it behind main_sweep.py",
    "reference_model": "reference_model of the file says it",
}
TRAINED = {"mask": "models say it", "unlearn": "methods say it"}  # flags that only entries of train may give
LAST = "/last"  # behind a model's round: the last epoch's weights, not those of the best validation accuracy
AXES = ("setting", "training", "model", "scenario", "method", "seed")

Flags = dict[str, Any]  # by name without dashes; true is a bare flag, false and null leave it out, a list is a grid


@dataclass(frozen=True)
class Spec:
    """A sweep as its file states it.

    Attributes:
        file: the path of the file.
        title: of the list of runs and of the tables.
        folder: where all runs go.
        seeds: seeds of everything; of unlearning alone where ``separate`` is not empty.
        paper: start of the names in ``experiments/paper.json`` of the published tables that it repeats.
        resources: fields of ``sweep.resources.Resources``, as far as the file gives them.
        flags: of every command.
        settings: flags by setting (data sets, architectures, ...); each is a whole grid of its own.
        train: trainings by label: "script", "from" and flags.
        models: what is unlearned from, by label: "TRAINING/ROUND", with "/last" behind it for the last epoch's weights.
        scenarios: what is forgotten, by label: flags.
        methods: by label: "unlearn", where it is another than the label, and flags.
        reference_model: label of the method, Retrain as a rule, with whose outputs every other run is compared.
        overrides: "flags" for the cells that the other keys (``AXES``) name.
        seeds_stated: whether the file gives seeds.
        separate: lists of seeds by purpose ("split", "train", "forget", "unlearn", "eval"); empty where one seed
            decides everything.
        population: "inits", a list of initialisations' numbers, and "lira", a mapping with the lists "splits" and
            "forgets"; empty for none.
        axes: lists of values by flag, over which the grid is repeated.
        optuna: the block that says what to tune, see ``sweep.search_block``; None for none.
    """

    file: Path
    title: str
    folder: Path
    seeds: list[int]
    paper: str | None = None
    resources: dict[str, Any] = field(default_factory=dict)
    flags: Flags = field(default_factory=dict)
    settings: dict[str, Flags] = field(default_factory=dict)
    train: dict[str, Flags] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    scenarios: dict[str, Flags] = field(default_factory=dict)
    methods: dict[str, Flags] = field(default_factory=dict)
    reference_model: str | None = None
    seeds_stated: bool = True
    separate: dict[str, list[int]] = field(default_factory=dict)
    population: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, list[Any]] = field(default_factory=dict)
    overrides: list[dict[str, Any]] = field(default_factory=list)
    optuna: dict[str, Any] | None = None


DERIVED = ("file", "seeds_stated", "separate")  # entries of a Spec that are no keys of a file
KEYS = ("extends", *(name for name in Spec.__dataclass_fields__ if name not in DERIVED))


def read(path: Path, folder: str | None = None) -> Spec:
    """Read and check a sweep's file, merged over those that it extends.

    Args:
        folder: where the runs go instead of the file's ``folder``.
    Raises:
        UsageError: an entry is missing or wrong; the message names the file, the key and what is allowed.
    """
    content = _load(path)
    check_keys(content, KEYS, str(path))
    for key in ("folder", "train"):
        if not content.get(key):
            raise UsageError(f"{path}: {key} is needed")
    exact = content.get("reference_model") or None  # false drops the entry of an extended file
    for key in ("title", "folder", "paper"):
        if not isinstance(content.get(key, ""), str):
            raise UsageError(f"{path}: {key} {content[key]}: must be text")
    repeated: dict[str, Any] = axes.read(content, path)
    given = {
        key: _entries(content[key], f"{path}: {key}")
        for key in ("settings", "train", "models", "scenarios", "methods")
        if content.get(key)
    }
    scenarios = given.get("scenarios", {}).items()
    given["scenarios"] = {
        label: {"forget": forget} if isinstance(forget, str) else forget for label, forget in scenarios
    }
    if "lira" in repeated["population"]:
        if given["scenarios"]:
            raise UsageError(f"{path}: scenarios: population: lira says what is forgotten")
        given["scenarios"] = {"lira": {}} if given.get("methods") else {}
        entries = [*given.get("settings", {}).values(), *given.get("train", {}).values(), repeated["axes"]]
        if any("compat" in entry for entry in entries):
            raise UsageError(
                f"{path}: compat: with population: lira it belongs into flags, where it decides the trainings"
            )
    spec = Spec(
        path,
        content.get("title", path.stem),
        Path(folder or content["folder"]),
        paper=content.get("paper"),
        resources=_resources(content, path),
        flags=_mapping(content.get("flags"), f"{path}: flags"),
        reference_model=exact,
        overrides=_overrides(content, path, axes.names(repeated)),
        optuna=content.get("optuna"),
        **{**repeated, **given},
    )
    _check(spec)
    return spec


def _load(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The entries of a file, merged over those of the file that it extends."""
    content = plain_yaml.read(path)
    if not isinstance(content, dict):
        raise UsageError(f"{path}: must be a mapping with the keys {', '.join(KEYS)}")
    if "extends" not in content:
        return content
    base = path.parent / str(content["extends"])
    if base.resolve() in seen:
        raise UsageError(f"{path}: extends: {base} extends this file")
    return merged(_load(base, (*seen, path.resolve())), content)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the entries of ``over``; mappings are merged entry by entry."""
    both = {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in over.items()
    }
    return {**base, **both}


def _mapping(value: Any, source: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{source}: must be a mapping of names to values")
    return value


def _entries(value: Any, source: str) -> dict[str, Any]:
    """Entries by label. Entries that are false are left out: so a file drops those of a file that it extends."""
    checked = {}
    for label, entry in _mapping(value, source).items():
        if not LABEL.fullmatch(label):
            reason = f"{label}: must consist of letters, digits and _ . + -, no dot first (it becomes a folder)"
            raise UsageError(f"{source}: {reason}")
        if entry is not False:
            checked[label] = entry if isinstance(entry, str) else _mapping(entry, f"{source}: {label}")
    return checked


def _resources(content: dict[str, Any], path: Path) -> dict[str, Any]:
    resources = _mapping(content.get("resources"), f"{path}: resources")
    check_keys(resources, RESOURCES, f"{path}: resources")
    for key, value in resources.items():
        least: Any = RESOURCES[key]
        if type(value) is not type(least) or (isinstance(least, int) and value < least):
            kind = {int: f"a whole number from {least} up", str: "text", dict: "a mapping"}[type(least)]
            raise UsageError(f"{path}: resources: {key} {value}: must be {kind}")
    return resources


def _overrides(content: dict[str, Any], path: Path, further: Iterable[str]) -> list[dict[str, Any]]:
    listed = content.get("overrides") or []
    if not isinstance(listed, list):
        raise UsageError(f"{path}: overrides: must be a list")
    for number, override in enumerate(listed, 1):
        source = f"{path}: override {number}"
        if not isinstance(override, dict) or not override.keys() - {"flags"}:
            raise UsageError(f"{source}: must be a mapping of flags and at least one of {', '.join(AXES)}")
        check_keys(override, (*AXES, *further, "flags"), source)
        left_out = override.get("flags") is False
        _mapping(None if left_out else override.get("flags"), f"{source}: flags")
        if left_out and "method" not in override:
            raise UsageError(f"{source}: flags: false leaves runs of methods out; name a method")
        if "training" in override and {"model", "scenario", "method"} & override.keys():
            raise UsageError(f"{source}: names a training and what is unlearned; no command is both")
    return listed


def _check(spec: Spec) -> None:
    """Refuse entries that are of the wrong kind or refer to a label that does not exist."""
    if not spec.train:
        raise UsageError(f"{spec.file}: train is needed")
    for key in ("settings", "scenarios", "train", "methods"):
        for label, entry in getattr(spec, key).items():
            if not isinstance(entry, dict):
                raise UsageError(f"{spec.file}: {key}: {label}: must be a mapping of flags to values")
            _check_flags(entry, f"{spec.file}: {key}: {label}", own=key in ("train", "methods"), trained=key == "train")
    _check_flags(spec.flags, f"{spec.file}: flags")
    for number, override in enumerate(spec.overrides, 1):
        _check_flags(override.get("flags") or {}, f"{spec.file}: override {number}: flags")
    for label, entry in spec.train.items():
        if "script" not in entry:
            raise UsageError(f"{spec.file}: train: {label}: script is needed, main_imp.py for example")
        if "from" in entry:
            reference(spec, entry["from"], f"train: {label}: from")
    for label, checkpoint in spec.models.items():
        reference(spec, str(checkpoint).removesuffix(LAST), f"models: {label}")
    exact = spec.reference_model
    if exact is not None and (
        exact not in spec.methods or any(isinstance(value, list) for value in spec.methods[exact].values())
    ):
        near = nearest(str(exact), spec.methods)
        raise UsageError(f"{spec.file}: reference_model {exact}: must be one of methods, and no grid{near}")
    unlearning = [key for key in ("models", "scenarios", "methods") if getattr(spec, key)]
    if unlearning and len(unlearning) < 3:
        missing = next(key for key in ("models", "scenarios", "methods") if key not in unlearning)
        raise UsageError(f"{spec.file}: {missing} is needed beside {unlearning[0]}")


def _check_flags(flags: Flags, source: str, own: bool = False, trained: bool = False) -> None:
    """Refuse flags that the sweep sets itself, and values that a command line cannot hold.

    Args:
        own: whether these are flags of an entry of ``train`` or ``methods``, where a list makes a grid.
        trained: whether they are flags of an entry of ``train``.
    """
    refused = OWN if trained else OWN | TRAINED
    for name, value in flags.items():
        if name in refused and not (own and name == "unlearn"):
            raise UsageError(f"{source}: {name}: {refused[name]}")
        one = name in ("script", "from")
        grid = own and not one and isinstance(value, list) and value
        if any(isinstance(each, (dict, list)) for each in (value if grid else [value])):
            grids = ", or a list of such for a grid" if own else "; a list, for a grid, is for train and methods only"
            lists = "" if one else grids
            raise UsageError(f"{source}: {name} {value}: must be a number, text, true or false{lists}")


def reference(spec: Spec, value: Any, source: str) -> tuple[str, int]:
    """Label of the training and number of the round that "TRAINING/ROUND" names; the round is 0 if left out.

    Args:
        value: the text.
        source: the key that holds it, for error messages.
    Raises:
        UsageError: there is no such training, or the round is no number.
    """
    label, _, round_ = str(value).partition("/")
    if label not in spec.train:
        near, known = nearest(label, spec.train), ", ".join(spec.train)
        raise UsageError(f"{spec.file}: {source}: no training is called {label}{near}; known: {known}")
    if round_ and not round_.isdigit():
        raise UsageError(f"{spec.file}: {source}: {value}: must be TRAINING/ROUND, {label}/1 for example")
    return label, int(round_ or 0)
