"""Reads and checks the entries of a sweep's file that repeat its grid: ``seeds``, ``population`` and ``axes``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from utils.errors import UsageError
from utils.plain_yaml import check_keys

SEEDS = ("split", "train", "forget", "unlearn", "eval")  # purposes that can have seeds of their own
POPULATION = ("inits", "lira")
SPLITS, FORGETS = 64, 10  # most values of S and J in ``--split lira:S:J``
SAID = {  # flags that cannot be axes, and the entry that sets each instead
    **dict.fromkeys(("seed", "train_seed", "split_seed", "unlearn_seed", "eval_seed"), "seeds say it"),
    "mask": "models say it",
    "unlearn": "methods say it",
    "reference_model": "reference_model of the file says it",
    "save_dir": "folder says it",
    "dry_run": "type it behind main_sweep.py",
}


def read(content: dict[str, Any], path: Any) -> dict[str, Any]:
    """The fields of a ``Spec`` that repeat its grid, by name.

    These are ``seeds``, ``seeds_stated``, ``separate``, ``population`` and ``axes``.

    Args:
        content: the file's entries by key.
        path: the file's path, for error messages.
    Raises:
        UsageError: an entry is missing, malformed or contradicts another; the message names file, key and what is
            allowed.
    """
    seeds, population = content.get("seeds"), _population(content.get("population"), f"{path}: population")
    if seeds is None and not population:
        raise UsageError(f"{path}: seeds is needed")
    separate = _separate(seeds, f"{path}: seeds") if isinstance(seeds, dict) else {}
    if "inits" in population and len(separate.get("train", [])) > 1:
        raise UsageError(f"{path}: seeds: train and population: inits are the same axis; give one of them")
    for key, meaning in (("split", "how the data are divided"), ("forget", "what is forgotten")):
        if "lira" in population and key in separate:
            raise UsageError(f"{path}: seeds: {key}: population: lira says {meaning}")
    listed = separate["unlearn"] if separate else [1] if seeds is None else check_seeds(seeds, str(path))
    axes = _free(content.get("axes"), f"{path}: axes")
    if content.get("optuna") and (separate or population or axes):
        reason = "a search takes seeds as a list, and neither population nor axes; give it a file of its own"
        raise UsageError(f"{path}: optuna: {reason}, that extends this one and drops them (population: false)")
    return {
        "seeds": listed,
        "seeds_stated": seeds is not None,
        "separate": separate,
        "population": population,
        "axes": axes,
    }


def names(repeated: dict[str, Any]) -> list[str]:
    """Names of the axes that overrides can use in this sweep beyond ``spec.AXES``, which every sweep has.

    Args:
        repeated: what ``read`` returned.
    """
    inits, lira = ("init",) if "inits" in repeated["population"] else (), repeated["population"].get("lira")
    separate = repeated["separate"]
    seeds = [name for name in SEEDS if name in separate and (name != "unlearn" or "forget" in separate)]
    return [*seeds, *inits, *(("split", "forget") if lira else ()), *repeated["axes"]]


def check_seeds(value: Any, source: str) -> list[int]:
    """``value`` unchanged, if it is a list of seeds.

    Args:
        source: what error messages begin with, the file's path for example.
    Raises:
        UsageError: it is no list, empty, or not of different whole numbers from 0 up.
    """
    if not isinstance(value, list) or not value or not _different(value, lambda seed: type(seed) is int and seed >= 0):
        raise UsageError(f"{source}: seeds: must be a list of different whole numbers from 0 up")
    return value


def _different(values: list[Any], sound: Callable[[Any], bool]) -> bool:
    return all(map(sound, values)) and len(set(map(str, values))) == len(values)


def _separate(entries: dict[str, Any], source: str) -> dict[str, list[int]]:
    """Seeds by purpose. ``train`` and ``unlearn`` default to 1; ``split`` has no default, another flag may set it."""
    check_keys(entries, SEEDS, source)
    if not entries:
        raise UsageError(f"{source}: must be a list, or a mapping with some of the keys {', '.join(SEEDS)}")
    return {
        "train": [1],
        "unlearn": [1],
        **{key: check_seeds(value, f"{source}: {key}") for key, value in entries.items()},
    }


def _population(entries: Any, source: str) -> dict[str, Any]:
    """The ``population`` entry with counts expanded to lists: ``inits``, and ``splits`` and ``forgets`` of ``lira``."""
    if entries is None or entries is False:
        return {}
    keys = f"must be a mapping with {' or '.join(POPULATION)}: {{inits: 10}} or {{lira: {{splits: 64, forgets: 10}}}}"
    if not isinstance(entries, dict) or not entries:
        raise UsageError(f"{source}: {keys}")
    check_keys(entries, POPULATION, source)
    entries = {key: value for key, value in entries.items() if value is not False}  # false drops an extended entry
    flags: dict[str, Any] = {}
    if "inits" in entries:
        flags["inits"] = _numbers(entries["inits"], None, f"{source}: inits")
    if "lira" in entries:
        lira = entries["lira"]
        if not isinstance(lira, dict):
            raise UsageError(f"{source}: lira: must be a mapping: {{splits: {SPLITS}, forgets: {FORGETS}}}")
        most = {"splits": SPLITS, "forgets": FORGETS}
        check_keys(lira, most, f"{source}: lira")
        flags["lira"] = {key: _numbers(lira.get(key, top), top, f"{source}: lira: {key}") for key, top in most.items()}
    return flags


def _numbers(value: Any, top: int | None, source: str) -> list[int]:
    """The numbers 0 to ``value`` - 1, or ``value`` itself if it is a list; each must be below ``top``, if given."""
    listed = list(range(value)) if type(value) is int and 0 < value <= (top or 10**6) else value
    sound = isinstance(listed, list) and listed and _different(listed, lambda each: type(each) is int and each >= 0)
    if not sound or (top is not None and max(listed) >= top):
        least = f"a number from 1 to {top}, or a list of different numbers from 0 to {top - 1}" if top else ""
        form = least or "a number from 1 up, or a list of different numbers from 0 up"
        raise UsageError(f"{source} {value}: must be {form}")
    return listed


def _free(entries: Any, source: str) -> dict[str, list[Any]]:
    """The ``axes`` entry: values by flag."""
    if entries is None or entries is False:
        return {}
    if not isinstance(entries, dict):
        raise UsageError(f"{source}: must be a mapping of flags to lists of values")
    flags = {str(flag).replace("-", "_"): values for flag, values in entries.items() if values is not False}
    for flag, values in flags.items():
        if flag in SAID:
            raise UsageError(f"{source}: {flag}: {SAID[flag]}")
        plain = (
            isinstance(values, list)
            and values
            and _different(values, lambda each: type(each) in (int, float, str, bool))
        )
        if not plain:
            raise UsageError(f"{source}: {flag} {values}: must be a list of different numbers or texts")
    return flags
