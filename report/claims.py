"""Judges claims by one's own runs: the difference between a claim's two sides, paired over seeds, and a verdict."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from report import marks, paired
from report.claim_file import Claim, Side
from report.comparison import Seeds, Table
from report.missing import PlannedRun
from report.page import Section
from report.paired import LEAST, Difference
from report.ranking import SCENARIO
from report.row_names import Model, hyper, model_name, recipe
from report.runs import METRICS

NEAR = 0.005  # most by which a model's sparsity may differ from a stated one; never more than a tenth of the density
METHOD, MINUS = "{method}", " minus "
ALIKE = 0.01  # most by which models of one sparsity may differ: IMP's rounds seldom give a round number
NOTE = (
    "Difference in points: the side of which the claim says that its score is larger minus the other, in the mean "
    "over pairs. A pair shares training, split and forget set, and all else in which the claim's sides do not differ. "
    "Runs of one training are one pair where there are several trainings. 95 % interval and p: paired t-test; p, "
    "corrected: for the number of lines (false discovery rate, Benjamini and Hochberg). holds: the interval is above "
    "0. does not hold: it is below 0. not shown: 0 is in it, or there are fewer than three pairs. The interval, and "
    "so the verdict, is not corrected for the number of lines; p, corrected, is. Gaps are distances of single runs "
    "from Retrain with the same seeds."
)
ONE_TRAINING = "All runs begin with one training in {}: there a pair is {}, and the answers speak of this model alone."
ALONE = {"forget set": "a forget set", "unlearning": "an unlearning", "scoring": "a scoring of one unlearning"}
COMPARED = ["claim", "verdict", "table", "method", "model", "score"]
HEAD = [*COMPARED, "difference", "95 % interval", "p", "p, corrected", "pairs"]
LONG = [*COMPARED, "difference", "low", "high", "p", "p_corrected", "pairs"]


@dataclass(frozen=True, eq=False)
class Place:
    """The runs of one cell of a table: a method with one setting on one model.

    Attributes:
        labels: the method's labels in sweeps' files.
        names: the method's name as typed, as papers have it, and its labels, in lower case.
        called: the names by which a claim selects these runs. If they have labels, names that are labels of other runs
            are left out.
        flags: the method's hyper-parameters.
        training: data and training flags of the model as JSON, without pruning.
    """

    table: Table
    row: str
    model: Model
    labels: frozenset[str]
    names: frozenset[str]
    called: frozenset[str]
    flags: dict[str, Any]
    training: str


Pair = tuple[Place, Place]  # on the larger side, on the smaller side


@dataclass(frozen=True)
class Line:
    """The outcome of a claim on one table, and for one method or model where the claim judges each on its own.

    Attributes:
        table, method, model: names of what is compared; "A minus B" where the sides differ in it.
        change: the side claimed larger minus the one claimed smaller, in [-1, 1]; None without a pair.
        lacking: why there is no pair, in words, in which ``METHOD`` is replaced by ``method``.
        left_out: runs that the claim selects but that are not part of ``change``, with the reason.
    """

    claim: Claim
    table: str = "-"
    method: str = "-"
    model: str = "-"
    change: Difference | None = None
    lacking: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """``holds``, ``does not hold``, or ``not shown`` with the reason."""
        if self.change is None:
            return f"not shown: {self.lacking.replace(METHOD, self.method)}"
        if self.change.pairs < LEAST:
            return f"not shown: {self.change.pairs} pair{'s' * (self.change.pairs > 1)}"
        if not self.change.tested:
            return "not shown: all pairs differ by the same"
        if self.change.low > 0:
            return "holds"
        return "does not hold" if self.change.high < 0 else "not shown: includes 0"


def section(claims: list[Claim], tables: list[Table], planned: Iterable[PlannedRun]) -> Section:
    """The section of a report that lists the claims of a file with their verdicts.

    Args:
        claims: at least one, all of one file.
        planned: cells of sweeps, which know the methods' labels.
    """
    places = _places(tables, planned)
    lines = _joined([line for claim in claims for line in judged(claim, places)])
    corrected = paired.corrected([line.change.p if line.change else math.nan for line in lines])
    rows, long = [], []
    for line, p in zip(lines, corrected):
        compared = [line.claim.sentence, line.verdict, line.table, line.method, line.model, line.claim.score]
        rows.append([*compared, *paired.cells(line.change, p)])
        change = line.change or Difference(math.nan, math.nan, math.nan, math.nan, 0)
        long.append([*compared, change.mean, change.low, change.high, change.p, p, change.pairs])
    judged_on = {table for line in lines if line.change for table in line.table.split(MINUS)}
    levels = {table.slug: paired.Units(table).level for table in tables if table.slug in judged_on}
    notes = [NOTE]
    for level, pair in ALONE.items():
        if alone := [slug for slug, topmost in levels.items() if topmost == level]:
            notes.append(ONE_TRAINING.format(", ".join(alone), pair))
    notes += [
        f'Left out of "{line.claim.sentence}" on {line.table}: {"; ".join(line.left_out)}.'
        for line in lines
        if line.left_out
    ]
    title, table = f"Claims of {claims[0].file}", pd.DataFrame(long, columns=LONG)
    return Section(title, HEAD, rows, notes, slug="claims", long=table)


def _places(tables: list[Table], planned: Iterable[PlannedRun]) -> list[Place]:
    labels: dict[str, set[str]] = {}
    for cell in planned:
        if cell.finished is not None and cell.facts["stage"] == "unlearn":
            labels.setdefault(cell.finished, set()).add(cell.facts["method"])
    labelled = {label.casefold() for of_run in labels.values() for label in of_run}
    places = []
    for table in tables:
        models = {model.name: model for model in table.models}
        cells = dict(list(table.finished.groupby(["row", "model"])))
        for row, model in itertools.product(table.rows, models):
            if (row, model) not in cells:
                continue
            group = cells[row, model]
            content = group["run"].iloc[0].content
            own_labels = frozenset(label for mark in group["fingerprint"] for label in labels.get(mark, ()))
            typed = [] if "adapters" in content else [content["method"]]
            lower = frozenset(label.casefold() for label in own_labels)
            names = lower | {name.casefold() for name in (content["paper_name"], *typed)}
            called = lower | (names - labelled) if own_labels else names
            trained = recipe(content) or {}
            training = json.dumps([trained.get("data"), trained.get("train")], sort_keys=True)
            places.append(Place(table, row, models[model], own_labels, names, called, hyper(content), training))
    return places


def _joined(lines: list[Line]) -> list[Line]:
    """The lines, with those of one claim that lack the same runs for several methods joined into one."""
    joined: dict[Any, Line] = {}
    for place, line in enumerate(lines):
        key = (line.claim.number, line.lacking, line.table, line.model) if line.change is None else place
        first = joined.setdefault(key, line)
        if first.method not in (line.method, "-"):
            joined[key] = replace(first, method=f"{first.method}, {line.method}")
    return list(joined.values())


# --- which runs ---


def _among(value: float, ends: tuple[float, float]) -> bool:
    low, high = ends
    if value == 0 or high == 0:
        return value == low == 0
    return low - min(NEAR, (1 - low) / 10) <= value <= high + min(NEAR, (1 - high) / 10)


def _same(value: Any, other: Any) -> bool:
    """Whether a stored value equals one of a claim's file. YAML reads 1e-4 as text, so numbers are parsed."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    try:
        return math.isclose(float(value), float(other))
    except (TypeError, ValueError):
        return value == other


def _flagged(place: Place, flags: dict[str, tuple[Any, ...]]) -> bool:
    return all(any(_same(place.flags.get(name), value) for value in values) for name, values in flags.items())


TESTS: dict[str, Callable[[Place, Any], bool]] = {  # applied in this order; the first that selects nothing is reported
    "scenario": lambda place, kinds: place.table.key["kind"] in kinds,
    "method": lambda place, names: any(name.casefold() in place.called for name in names),
    "sparsity": lambda place, ends: place.model.sparsity is not None and _among(place.model.sparsity, ends),
    "pruner": lambda place, names: place.model.pruner in names,
    "flags": _flagged,
}
LACKING: dict[str, Callable[[Any], str]] = {  # the words for a selector that selects no run
    "scenario": lambda kinds: f"no runs that forget: {' or '.join(kinds)}",
    "method": lambda names: f"no runs of {METHOD}",
    "sparsity": lambda ends: f"no runs on models that are {' to '.join(map(model_name, dict.fromkeys(ends)))}",
    "pruner": lambda names: f"no runs on models pruned by {' or '.join(names)}",
    "flags": lambda flags: (
        "no runs with " + ", ".join(f"{name} {' or '.join(map(str, values))}" for name, values in flags.items())
    ),
}


def _select(side: Side, places: list[Place]) -> tuple[list[Place], str]:
    """The places that a side selects, and if there are none, what is lacking, in words.

    Original and Retrain are selected only by name.
    """
    if not side.method:
        places = [place for place in places if not marks.reference(place.row)]
        if not places:
            return [], "no runs but of Original and Retrain"
    for key, test in TESTS.items():
        if selector := getattr(side, key):
            places = [place for place in places if test(place, selector)]
            if not places:
                return [], LACKING[key](selector)
    return places, ""


# --- which runs make a pair ---


def _alike(larger: Place, smaller: Place, named: frozenset[str]) -> bool:
    """Whether two places can be a pair: they differ only in the selectors ``named``."""
    if larger.table is not smaller.table and ("scenario" not in named or _shared(larger) != _shared(smaller)):
        return False
    if not named & {"method", "flags"} and larger.row != smaller.row and not larger.labels & smaller.labels:
        return False
    if "flags" in named and "method" not in named and not larger.names & smaller.names:
        return False
    one, other = larger.model, smaller.model
    if not named & {"sparsity", "pruner"}:
        return one.name == other.name
    if "sparsity" not in named:
        return one is not other and abs((one.sparsity or 0.0) - (other.sparsity or 0.0)) <= ALIKE
    return one.name != other.name and (
        "pruner" in named or not (one.pruner and other.pruner) or one.pruner == other.pruner
    )


def _shared(place: Place) -> str:
    return json.dumps({key: value for key, value in place.table.key.items() if key not in SCENARIO}, sort_keys=True)


def _preferred(pairs: list[Pair], alike: Callable[[Place, Place], bool]) -> list[Pair]:
    """The pairs for which ``alike`` holds, and those of places that are in none of these."""
    best = [pair for pair in pairs if alike(*pair)]
    taken = {place for pair in best for place in pair}
    return [pair for pair in pairs if pair in best or not taken & set(pair)]


def _pairs(claim: Claim, larger: list[Place], smaller: list[Place]) -> list[Pair]:
    both = set(larger) & set(smaller)
    pairs = [
        (one, other)
        for one in larger
        for other in smaller
        if not {one, other} <= both and _alike(one, other, claim.named)  # if both are on both sides, they would cancel
    ]
    if claim.named & {"sparsity", "pruner"}:
        pairs = _preferred(pairs, lambda one, other: one.training == other.training)
    if "flags" in claim.named and "method" not in claim.named:
        stated = {*claim.smaller.flags, *claim.larger.flags}
        pairs = _preferred(
            pairs,
            lambda one, other: all(
                one.flags.get(name) == other.flags.get(name) for name in {*one.flags, *other.flags} - stated
            ),
        )
    return pairs if "sparsity" in claim.named else _nearest(pairs)


def _nearest(pairs: list[Pair]) -> list[Pair]:
    """The pairs in which each place is the other's nearest in sparsity, among partners of one row and pruner."""
    least: dict[tuple, float] = {}
    for pair in pairs:
        for key in _kinds(pair):
            least[key] = min(_apart(pair), least.get(key, math.inf))
    return [pair for pair in pairs if all(_apart(pair) <= least[key] + 1e-9 for key in _kinds(pair))]


def _kinds(pair: Pair) -> list[tuple]:
    """For each place of a pair: the place, and the table, row and pruner of its partner."""
    return [(place, other.table, other.row, other.model.pruner) for place, other in (pair, pair[::-1])]


def _apart(pair: Pair) -> float:
    larger, smaller = pair
    return abs((larger.model.sparsity or 0.0) - (smaller.model.sparsity or 0.0))


# --- what comes of it ---


def judged(claim: Claim, places: list[Place]) -> list[Line]:
    """The outcomes of a claim: a line per table, and per method and model as ``Claim.each`` says.

    If a side selects no runs, or no two make a pair, there is one line, which says what is lacking.
    """
    sides = []
    for side in (claim.larger, claim.smaller):
        selected, lacking = _select(side, places)
        if lacking:
            return [Line(claim, method=", ".join(side.method) or "-", lacking=lacking)]
        sides.append(selected)
    groups: dict[tuple[str, ...], list[Pair]] = {}
    for pair in _pairs(claim, *sides):
        table, method, model = _table([pair]), _method([pair], claim), _model([pair])
        key = table, method if "method" in claim.each else "", model if "model" in claim.each else ""
        groups.setdefault(key, []).append(pair)
    if not groups:
        same = set(sides[0]) == set(sides[1])
        lacking = "the sides are the same runs" if same else "the sides differ in more than it says"
        return [Line(claim, method=", ".join(claim.larger.method) or "-", lacking=lacking)]
    return [_line(claim, pairs) for pairs in groups.values()]


def _line(claim: Claim, pairs: list[Pair]) -> Line:
    scores = {pair: [each.table.by_seed(each.row, each.model.name, claim.score) for each in pair] for pair in pairs}
    changes = {pair: change for pair in pairs if (change := paired.changes(*scores[pair]))}
    named = list(changes) or pairs
    names = _table(named), _method(named, claim), _model(named)
    if not changes:
        return Line(claim, *names, lacking=_without(claim, [side for sides in scores.values() for side in sides]))
    by_pair = list(changes.values())
    shared = [seeds for seeds in by_pair[0] if all(seeds in change for change in by_pair)]
    means = {seeds: math.fsum(change[seeds] for change in by_pair) / len(by_pair) for seeds in shared}
    units = paired.Units(*{place.table for pair in changes for place in pair})
    left_out = [
        f"{_method([pair], claim)}, {_model([pair])} ({_without(claim, scores[pair])})"
        for pair in pairs
        if pair not in changes
    ]
    seeds = {seeds for change in by_pair for seeds in change}
    if len(seeds) > len(shared):
        left_out.append(f"{len(seeds) - len(shared)} of {len(seeds)} sets of seeds, which not all of them have")
    difference = paired.difference(units.means(means).values())
    return Line(claim, *names, difference, "no seed on all of them", tuple(left_out))


def _without(claim: Claim, sides: Iterable[Mapping[Seeds, float]]) -> str:
    """Why these sides have no pair of runs, in words."""
    return "no seed on both sides" if claim.score in METRICS or all(sides) else "no Retrain with the same seeds"


def _against(sides: list[tuple[str, str]]) -> str:
    """The names of a pair, ``A`` if both sides are equal in every pair, else ``A minus B``."""
    larger, smaller = (", ".join(dict.fromkeys(names)) for names in zip(*sides))
    return larger if all(one == other for one, other in sides) else f"{larger}{MINUS}{smaller}"


def _table(pairs: list[Pair]) -> str:
    return _against([(larger.table.slug, smaller.table.slug) for larger, smaller in pairs])


def _model(pairs: list[Pair]) -> str:
    return _against([(larger.model.name, smaller.model.name) for larger, smaller in pairs])


def _method(pairs: list[Pair], claim: Claim) -> str:
    names = []
    for larger, smaller in pairs:
        joint = sorted(larger.labels & smaller.labels)
        label = larger.row != smaller.row and joint and not claim.named & {"method", "flags"}
        names.append((joint[0], joint[0]) if label else (larger.row, smaller.row))
    return _against(names)
