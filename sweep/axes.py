"""What a sweep's file says of its repeats: ``seeds``, ``population`` and ``axes``, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from utils.errors import UsageError
from utils.plain_yaml import check_keys

SEEDS = ("split", "train", "forget", "unlearn", "eval")  # seeds that can be told apart
POPULATION = ("inits", "lira")
SPLITS, FORGETS = 64, 10  # that a population of ``--split lira:S:J`` has at most
SAID = {  # flags that are no free axes, and what says them
    **dict.fromkeys(("seed", "train_seed", "split_seed", "unlearn_seed", "eval_seed"), "seeds say it"),
    "mask": "models say it",
    "unlearn": "methods say it",
    "reference_model": "reference_model of the file says it",
    "save_dir": "folder says it",
    "dry_run": "type it behind main_sweep.py",
}


def read(content: dict[str, Any], path: Any) -> dict[str, Any]:
    """The entries of a ``Spec`` that say how often its grid is repeated.

    Args:
        content: of the file.
        path: of the file, for errors.
    Raises:
        UsageError: names the file, the key and what is allowed.
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
    """What overrides can name beside the axes that every sweep has.

    Args:
        repeated: what ``read`` returned.
    """
    inits, lira = ("init",) if "inits" in repeated["population"] else (), repeated["population"].get("lira")
    separate = repeated["separate"]
    seeds = [name for name in SEEDS if name in separate and (name != "unlearn" or "forget" in separate)]
    return [*seeds, *inits, *(("split", "forget") if lira else ()), *repeated["axes"]]


def check_seeds(value: Any, source: str) -> list[int]:
    """The seeds themselves. Raises UsageError: they are no list of different whole numbers from 0 up."""
    if not isinstance(value, list) or not value or not _different(value, lambda seed: type(seed) is int and seed >= 0):
        raise UsageError(f"{source}: seeds: must be a list of different whole numbers from 0 up")
    return value


def _different(values: list[Any], sound: Callable[[Any], bool]) -> bool:
    return all(map(sound, values)) and len(set(map(str, values))) == len(values)


def _separate(entries: dict[str, Any], source: str) -> dict[str, list[int]]:
    """Seeds by what they decide; what is not given has the seed 1, but for the split, which may be another flag's."""
    check_keys(entries, SEEDS, source)
    if not entries:
        raise UsageError(f"{source}: must be a list, or a mapping with some of the keys {', '.join(SEEDS)}")
    return {
        "train": [1],
        "unlearn": [1],
        **{key: check_seeds(value, f"{source}: {key}") for key, value in entries.items()},
    }


def _population(entries: Any, source: str) -> dict[str, Any]:
    """``inits`` as numbers, ``lira`` as numbers of splits and of forget sets."""
    if entries is None or entries is False:
        return {}
    keys = f"must be a mapping with {' or '.join(POPULATION)}: {{inits: 10}} or {{lira: {{splits: 64, forgets: 10}}}}"
    if not isinstance(entries, dict) or not entries:
        raise UsageError(f"{source}: {keys}")
    check_keys(entries, POPULATION, source)
    entries = {key: value for key, value in entries.items() if value is not False}  # what is dropped
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
    """Numbers from 0 up: so many, or those of a list; each below ``top``."""
    listed = list(range(value)) if type(value) is int and 0 < value <= (top or 10**6) else value
    sound = isinstance(listed, list) and listed and _different(listed, lambda each: type(each) is int and each >= 0)
    if not sound or (top is not None and max(listed) >= top):
        least = f"a number from 1 to {top}, or a list of different numbers from 0 to {top - 1}" if top else ""
        form = least or "a number from 1 up, or a list of different numbers from 0 up"
        raise UsageError(f"{source} {value}: must be {form}")
    return listed


def _free(entries: Any, source: str) -> dict[str, list[Any]]:
    """Values by flag."""
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
