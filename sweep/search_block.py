"""Reads the ``optuna`` block of a sweep's file: which methods are tuned, in which ranges, by which sampler."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import fields, replace
from typing import Any

from sweep.axes import check_seeds
from sweep.objective import OBJECTIVES
from sweep.spec import Spec
from sweep.trial import Search, baseline, place, runs
from unlearn.unlearn_flags import Lora
from utils.errors import UsageError
from utils.names import lookup, nearest
from utils.options import value_type
from utils.plain_yaml import check_keys

NUMBERS = {"trials": 1, "at_once": 1, "seed": 0, "population": 2}  # keys of whole numbers, each with its least value
KEYS = ("method", "parameters", "objective", *NUMBERS, "seeds", "models", "scenarios", "over", "sampler", "spread")
SAMPLERS = ("tpe", "random", "grid", "nsga3")
OVER = ("setting", "model", "scenario")  # axes over which a winner may be shared
RANGE = ("low", "high", "log", "choices")


def read(spec: Spec) -> list[Search]:
    """The searches that the ``optuna`` block of a file states, one for each of its methods.

    Raises:
        UsageError: an entry is wrong (the message names the key and what is allowed), or Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("optuna: is not installed; pip install optuna")
    block, source = spec.optuna, f"{spec.file}: optuna"
    if not isinstance(block, dict):
        raise UsageError(f"{source}: must be a mapping with the keys {', '.join(KEYS)}")
    check_keys(block, KEYS, source)
    for key in ("method", "trials"):
        if not block.get(key):
            raise UsageError(f"{source}: {key} is needed")
    methods = block["method"] if isinstance(block["method"], list) else [block["method"]]
    labels = {"method": methods, **{key: block.get(key, list(getattr(spec, key))) for key in ("models", "scenarios")}}
    known: list[dict[str, Any]] = [spec.methods, spec.models, spec.scenarios]
    for key, entries in zip(labels, known):
        labels[key] = _names(labels[key], entries, key, source)
    if not any(entry.get("unlearn", label) == "retrain" for label, entry in spec.methods.items()):
        raise UsageError(f"{source}: needs retrain among the methods, to measure the gap to")
    shared = Search(
        method="",
        parameters={},
        seeds=check_seeds(block.get("seeds", spec.seeds), source),
        models=labels["models"],
        scenarios=labels["scenarios"],
        over=_names(block["over"], OVER, "over", source) if "over" in block else [],
        **_sampling(block, source),
    )
    parameters, configs = block.get("parameters"), {method: _config(spec, method) for method in labels["method"]}
    _check_parameters(parameters, list(configs.values()), f"{source}: parameters")
    ranges = _by_method(parameters, list(configs), f"{source}: parameters")
    own = ((method, replace(shared, method=method)) for method in configs)
    searches = [_of_method(spec, search, configs[method], ranges[method], source) for method, search in own]
    _check_retrain(spec, searches, source)
    return searches


def _check_retrain(spec: Spec, searches: list[Search], source: str) -> None:
    """Refuse searches whose runs have no Retrain to be compared with, because overrides leave it out."""
    if all(override.get("flags") is not False for override in spec.overrides):
        return
    exact = [(place(cell), cell.facts["seed"]) for cell in baseline(spec, searches[0]) if "unlearn" in cell.facts]
    for search in searches:
        for cell in runs(spec, search, search.end(0)):
            if (place(cell), cell.facts["seed"]) not in exact:
                reason = "is measured against Retrain, which overrides leave out there (flags: false)"
                raise UsageError(f"{source}: {cell.name}: {reason}")


def _names(listed: Any, known: Any, key: str, source: str) -> list[str]:
    """The listed names without duplicates; an unknown one is refused."""
    if not isinstance(listed, list) or not listed:
        raise UsageError(f"{source}: {key} {listed}: must be a list of names")
    return [lookup(name, known, f"{source}: {key}") for name in dict.fromkeys(map(str, listed))]


def _sampling(block: dict[str, Any], source: str) -> dict[str, Any]:
    """The fields of a ``Search`` that say how values are drawn and judged."""
    for key, low in NUMBERS.items():
        if type(block.get(key, low)) is not int or block.get(key, low) < low:
            raise UsageError(f"{source}: {key} {block[key]}: must be a whole number from {low} up")
    spread = block.get("spread", 0)
    if type(spread) not in (int, float) or not 0 <= spread < math.inf:
        raise UsageError(f"{source}: spread {spread}: must be a number from 0 up")
    judged = OBJECTIVES.get(lookup(str(block.get("objective", "gap")), list(OBJECTIVES), f"{source}: objective"))
    if spread and judged.per_seed:
        raise UsageError(f"{source}: spread: objective {judged.name} judges each seed on its own, where there is none")
    sampler = lookup(str(block.get("sampler", judged.sampler)), SAMPLERS, f"{source}: sampler")
    if "population" in block and sampler != "nsga3":
        raise UsageError(f"{source}: population: is for sampler nsga3 alone")
    numbers = {"at_once": 4, "seed": 0, "population": 50} | {key: block[key] for key in NUMBERS if key in block}
    return {"objective": judged, "sampler": sampler, "spread": spread, **numbers}


def _by_method(parameters: Any, methods: list[str], source: str) -> dict[str, Any]:
    """The ``parameters`` for each method: its own where ``parameters`` is keyed by method, else the common ones."""
    if not isinstance(parameters, dict) or not parameters.keys() & set(methods):
        return dict.fromkeys(methods, parameters)
    for name in [*parameters, *methods]:
        if name not in methods or name not in parameters:
            reason = f"{name}: given by method, they must name each of {', '.join(methods)}, and nothing else"
            raise UsageError(f"{source}: {reason}")
    return parameters


def _config(spec: Spec, method: str) -> type | None:
    """The dataclass of a method's flags; None for an unknown method, which its script refuses with a better message."""
    from unlearn import registry

    try:
        return registry.get(str(spec.methods[method].get("unlearn", method))).config
    except UsageError:
        return None


def _of_method(spec: Spec, search: Search, config: type | None, given: Any, source: str) -> Search:
    """The search of one method. Command lines at both ends of its ranges are checked now, before hours of training."""
    parameters = {}
    for name, ranged in _parameters(given, search.method, config, f"{source}: parameters").items():
        flag = name.replace("-", "_")
        integers = config is not None and int in (value_type(config, flag), value_type(Lora, flag))
        parameters[name] = _distribution(ranged, integers, f"{source}: parameters: {name}")
    trials = search.trials
    if search.sampler == "grid":
        if not all(hasattr(each, "choices") for each in parameters.values()):
            raise UsageError(f"{source}: sampler grid: needs choices for every parameter")
        trials = min(trials, math.prod(len(each.choices) for each in parameters.values()))
    search = replace(search, parameters=parameters, trials=trials)
    for number in (0, -1):
        if not runs(spec, search, search.end(number)):
            raise UsageError(f"{source}: method: {search.method}: overrides leave all of its runs out (flags: false)")
    entry = spec.methods[search.method]
    grid = [name for name, value in entry.items() if isinstance(value, list) and name not in parameters]
    if grid:
        hint = f"a search needs one value, or {grid[0]} among the parameters"
        raise UsageError(f"{source}: method: {search.method} is a grid over {grid[0]}; {hint}")
    return search


def _check_parameters(parameters: Any, configs: list[type | None], source: str) -> None:
    """Refuse ``parameters`` that are neither a mapping nor a list, and listed flags for which no method has a range."""
    if parameters is not None and not (isinstance(parameters, (dict, list)) and parameters):
        reason = "must be a mapping of flags to ranges, or a list of flags whose ranges the methods state"
        raise UsageError(f"{source}: {reason}")
    known = list(dict.fromkeys(name for config in configs for name in _stated(config)))
    for name in parameters if isinstance(parameters, list) else ():
        if name not in known:
            reason = (
                f"{name}: no method here states a range for it{nearest(str(name), known)}; give ranges as a mapping"
            )
            raise UsageError(f"{source}: {reason}")


def _parameters(given: Any, method: str, config: type | None, source: str) -> dict[str, dict[str, Any]]:
    """The ranges of one method: those given as a mapping, else its options' own (``search=``), limited to a list."""
    if isinstance(given, dict):
        return given
    own = _stated(config)
    ranges = {name: ranged for name, ranged in own.items() if given is None or name in given}
    if not ranges:
        hint = "give ranges as a mapping"
        raise UsageError(f"{source}: {method} states a range for {', '.join(own) or 'no flag'}; {hint}")
    return ranges


def _stated(config: type | None) -> dict[str, dict[str, Any]]:
    ranges = {field.name: field.metadata.get("search") for field in (fields(config) if config else ())}
    return {
        name: {"choices": ranged}
        if isinstance(ranged, list)
        else {"low": ranged[0], "high": ranged[1], "log": ranged[2] == "log"}
        for name, ranged in ranges.items()
        if ranged is not None
    }


def _distribution(entry: Any, integers: bool, source: str) -> Any:
    """Optuna's distribution over a range or choices, of whole numbers if ``integers``; other entries are refused."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    entry = entry if isinstance(entry, dict) else {}
    check_keys(entry, RANGE, source)
    if isinstance(entry.get("choices"), list) and entry["choices"]:
        return CategoricalDistribution(entry["choices"])
    try:
        low, high = float(entry["low"]), float(entry["high"])
        if not math.isfinite(high - low) or low == high:
            raise ValueError
        distribution = FloatDistribution(low, high, log=bool(entry.get("log")))
    except (KeyError, TypeError, ValueError):
        ways = "log: true for a logarithmic scale, from above 0"
        raise UsageError(f"{source}: must have low and high ({ways}), or a list of choices") from None
    if not integers:
        return distribution
    if not (low.is_integer() and high.is_integer()):
        raise UsageError(f"{source}: low {entry['low']}, high {entry['high']}: the flag takes whole numbers")
    return IntDistribution(int(low), int(high), log=distribution.log)
