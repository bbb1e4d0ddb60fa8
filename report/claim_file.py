"""Reads a file of claims. Each claim is a sentence that compares a score on two sides, two selections of runs.

Imports neither torch nor pandas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from report.row_names import PRUNERS, hyper
from report.runs import BY_SEED, Collection
from utils import plain_yaml
from utils.errors import UsageError
from utils.names import lookup
from utils.plain_yaml import check_keys

SIDES = ("smaller", "larger")
SELECTORS = ("method", "scenario", "sparsity", "density", "pruner", "flags")
KEYS = ("claim", "score", *SIDES, "each", *SELECTORS)
EACH = ("method", "model")


@dataclass(frozen=True)
class Side:
    """Selects the runs on one side of a claim. An attribute that is empty or None selects all runs.

    Attributes:
        method: names of methods as typed, as papers have them, or as a sweep's file labels them.
        scenario: kinds of forgetting, such as "class" and "random".
        sparsity: the smallest and the largest pruned fraction of a model's weights, in [0, 1].
        pruner: names of pruners, of ``row_names.PRUNERS``.
        flags: by a method's flag, the values of which a run must have one.
    """

    method: tuple[str, ...] = ()
    scenario: tuple[str, ...] = ()
    sparsity: tuple[float, float] | None = None
    pruner: tuple[str, ...] = ()
    flags: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A sentence about runs that says which of two sides has the smaller score.

    Attributes:
        file: name of the file that states it.
        number: place of the claim in the file, from 1.
        sentence: the claim in words, as the file has it.
        score: one of ``runs.BY_SEED``.
        smaller: the side whose score is claimed to be smaller.
        larger: the other side.
        named: the selectors that the file gives for a single side. The two runs of a pair may differ in these only.
        each: those of ``EACH`` ("method", "model") for which each value is judged on its own. Over the others the
            differences are averaged.
    """

    file: str
    number: int
    sentence: str
    score: str
    smaller: Side
    larger: Side
    named: frozenset[str]
    each: frozenset[str]


def read(typed: str | None) -> list[Claim]:
    """The claims of a YAML file, in its order.

    A claim about several scenarios becomes one for each, and one about several methods too if ``each`` names "method".

    Args:
        typed: path of the file; None for no claims.
    Raises:
        UsageError: an entry is wrong; the message names the file, the claim, the key and what is allowed.
    """
    if typed is None:
        return []
    path = Path(typed)
    content = plain_yaml.read(path)
    if not isinstance(content, list) or not content:
        raise UsageError(f"{path}: must be a list of claims, each a mapping with the keys {', '.join(KEYS)}")
    stated = [_claim(entry, path, number) for number, entry in enumerate(content, 1)]
    return [single for claim in stated for single in _singles(claim)]


def check_known(claims: list[Claim], known: Callable[[], Mapping[str, Iterable[str]]], collection: Collection) -> None:
    """Refuse claims about a method, flag or scenario that neither the project knows nor a run has.

    Args:
        known: returns the project's names of "method" (as typed and as papers have them), "flags" and "scenario". It is
            called only if there is a claim.
        collection: the runs.
    Raises:
        UsageError: a name is unknown; the message names the claim and the nearest known name.
    """
    if not claims:
        return
    project = known()
    runs = [run.content for run in collection.runs_of("main_forget.py", failed=True)]
    in_runs = [run.content.get(key) for run in collection.runs for key in ("method", "paper_name")]
    in_runs += [cell.get("method") for plan in collection.plans.values() for cell in plan["cells"]]
    names = {name.casefold(): name for name in (*project["method"], *in_runs) if isinstance(name, str)}
    flags = sorted({*project["flags"], *(name for content in runs for name in hyper(content))})
    kinds = list(dict.fromkeys((*project["scenario"], *(content["scenario"]["kind"] for content in runs))))
    for claim in claims:
        source = f"{claim.file}: claim {claim.number}"
        for side in (claim.smaller, claim.larger):
            for name in side.method:
                if name.casefold() not in names:
                    lookup(name, sorted(names.values(), key=str.casefold), f"{source}: method")
            for name in side.flags:
                lookup(name, flags, f"{source}: flags")
            for name in side.scenario:
                lookup(name, kinds, f"{source}: scenario")


def _claim(entry: Any, path: Path, number: int) -> Claim:
    source = f"{path}: claim {number}"
    if not isinstance(entry, dict):
        raise UsageError(f"{source}: must be a mapping with the keys {', '.join(KEYS)}")
    check_keys(entry, KEYS, source)
    for key in ("claim", "score", *SIDES):
        if key not in entry:
            raise UsageError(f"{source}: {key} is needed")
    if not isinstance(entry["claim"], str) or not entry["claim"].strip() or not entry["claim"].isprintable():
        raise UsageError(f"{source}: claim: must be a sentence on one line")
    shared = {key: entry[key] for key in SELECTORS if key in entry}
    sides = {}
    for name in SIDES:
        content = entry[name]
        if not isinstance(content, dict):
            raise UsageError(f"{source}: {name}: must be a mapping with some of the keys {', '.join(SELECTORS)}")
        check_keys(content, SELECTORS, f"{source}: {name}")
        if twice := next((key for key in content if key in shared), None):
            raise UsageError(f"{source}: {name}: {twice} is said of the whole claim too; say it once")
        sides[name] = _side({**shared, **content}, f"{source}: {name}")
    if sides["smaller"] == sides["larger"]:
        raise UsageError(f"{source}: smaller and larger: are the same runs; say in which of {', '.join(SELECTORS)}")
    named = {"sparsity" if key == "density" else key for name in SIDES for key in entry[name]}
    each = _texts(entry, "each", source)
    for name in each:
        lookup(name, EACH, f"{source}: each")
    score = lookup(str(entry["score"]), BY_SEED, f"{source}: score")
    return Claim(str(path), number, entry["claim"], score, **sides, named=frozenset(named), each=frozenset(each))


def _side(content: dict[str, Any], source: str) -> Side:
    if "sparsity" in content and "density" in content:
        raise UsageError(f"{source}: sparsity and density: are one number, pruned and kept; give one of them")
    sparsity = _range(content["sparsity"], f"{source}: sparsity") if "sparsity" in content else None
    if "density" in content:
        low, high = _range(content["density"], f"{source}: density")
        sparsity = 1 - high, 1 - low
    texts = {key: _texts(content, key, source) for key in ("method", "scenario", "pruner")}
    known = {name.casefold(): name for name in PRUNERS}
    pruners = [known.get(name.casefold()) or lookup(name, PRUNERS, f"{source}: pruner") for name in texts["pruner"]]
    flags = _flags(content["flags"], f"{source}: flags") if "flags" in content else {}
    return Side(texts["method"], texts["scenario"], sparsity, tuple(pruners), flags)


def _flags(flags: Any, source: str) -> dict[str, tuple[Any, ...]]:
    """Allowed values by flag, with underscores in the flag's name as in results."""
    if not isinstance(flags, dict) or not flags or not all(isinstance(name, str) for name in flags):
        raise UsageError(f"{source}: must be a mapping of flags to values")
    values = {}
    for name, value in flags.items():
        values[name.replace("-", "_")] = listed = tuple(_listed(value))
        if not listed or not all(isinstance(each, (str, int, float)) and each != "" for each in listed):
            raise UsageError(
                f"{source}: {name}: must be a value or a list of values, each a number, a text, true or false"
            )
    return values


def _texts(content: dict[str, Any], key: str, source: str) -> tuple[str, ...]:
    """The names under a key, each once; empty if the key is absent."""
    if key not in content:
        return ()
    listed = _listed(content[key])
    if not listed or not all(isinstance(text, str) and text.strip() for text in listed):
        raise UsageError(f"{source}: {key} {content[key]}: must be a name or a list of names")
    return tuple(dict.fromkeys(listed))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _range(value: Any, source: str) -> tuple[float, float]:
    """Lower and upper end of a range that is given as one number or as two."""
    ends = _listed(value)
    sound = len(ends) in (1, 2) and all(type(end) in (int, float) and 0 <= end <= 1 for end in ends)
    if not sound or ends != sorted(ends):
        raise UsageError(f"{source} {value}: must be a fraction in [0, 1], or a list of the smallest and the largest")
    return float(ends[0]), float(ends[-1])


def _singles(claim: Claim) -> list[Claim]:
    """The claim divided by scenario, and by method if ``each`` names it, where these are common to both sides."""
    claims = [claim]
    for key, alone in (("method", "method" in claim.each), ("scenario", True)):
        names = getattr(claim.smaller, key)
        if alone and key not in claim.named and len(names) > 1:
            only: list[dict[str, Any]] = [{key: (name,)} for name in names]
            claims = [
                replace(one, smaller=replace(one.smaller, **change), larger=replace(one.larger, **change))
                for one in claims
                for change in only
            ]
    return claims
