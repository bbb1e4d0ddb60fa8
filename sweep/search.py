"""Tuning a method's numbers against the gap to Retrain, by Optuna, which is imported only here."""

from __future__ import annotations

import importlib.util
import math
import statistics
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from report import runs as stored
from report.runs import METRICS, SEARCH
from report.text import aligned
from sweep.axes import check_keys, check_seeds
from sweep.grid import Cell, cells
from sweep.runner import Runner, summary
from sweep.spec import Flags, Spec
from sweep.state import State
from unlearn.unlearn_flags import Lora
from utils import files
from utils.errors import UsageError
from utils.names import lookup, nearest
from utils.options import value_type
from utils.preempt import RESUMABLE

KEYS = ("method", "parameters", "trials", "at_once", "seeds", "models", "scenarios", "sampler", "seed", "spread")
RANGE = ("low", "high", "log", "choices")


@dataclass(frozen=True)
class Search:
    """What is tuned of one method, for each setting, model and scenario on its own.

    Attributes:
        method: one of the file's methods.
        parameters: Optuna's distribution of each flag that is tuned.
        trials: how many values are tried.
        at_once: trials that run side by side; the next ones learn from all of them.
        seeds: over which a trial is judged.
        seed: of the sampler.
        spread: how much of the gap's standard deviation over the seeds is added to it.
    """

    method: str
    parameters: dict[str, Any]
    trials: int
    at_once: int
    seeds: list[int]
    models: list[str]
    scenarios: list[str]
    sampler: str
    seed: int
    spread: float


def read(spec: Spec) -> list[Search]:
    """The ``optuna`` block of a file, checked: one search for each of its methods.

    Raises UsageError: names the key and what is allowed, or Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("optuna: is not installed; pip install optuna")
    block, where = spec.optuna, f"{spec.file}: optuna"
    if not isinstance(block, dict):
        raise UsageError(f"{where}: must be a mapping with the keys {', '.join(KEYS)}")
    check_keys(block, KEYS, where)
    for key in ("method", "trials"):
        if not block.get(key):
            raise UsageError(f"{where}: {key} is needed")
    for key, low in (("trials", 1), ("at_once", 1), ("seed", 0)):
        if type(block.get(key, low)) is not int or block.get(key, low) < low:
            raise UsageError(f"{where}: {key} {block[key]}: must be a whole number from {low} up")
    spread = block.get("spread", 0)
    if type(spread) not in (int, float) or not 0 <= spread < math.inf:
        raise UsageError(f"{where}: spread {spread}: must be a number from 0 up")
    methods = block["method"] if isinstance(block["method"], list) else [block["method"]]
    labels = {"method": methods, **{key: block.get(key, list(getattr(spec, key))) for key in ("models", "scenarios")}}
    stated: list[dict[str, Any]] = [spec.methods, spec.models, spec.scenarios]
    for (key, named), known in zip(labels.items(), stated):
        if not isinstance(named, list) or not named:
            raise UsageError(f"{where}: {key} {named}: must be a list of names")
        labels[key] = [lookup(name, known, f"{where}: {key}") for name in dict.fromkeys(map(str, named))]
    seeds = check_seeds(block.get("seeds", spec.seeds), where)
    if not _exact(spec):
        raise UsageError(f"{where}: needs retrain among the methods, to measure the gap to")
    sampler = lookup(str(block.get("sampler", "tpe")), ("tpe", "random", "grid"), f"{where}: sampler")
    trials, at_once, seed = block["trials"], block.get("at_once", 4), block.get("seed", 0)
    shared = Search("", {}, trials, at_once, seeds, labels["models"], labels["scenarios"], sampler, seed, spread)
    wanted, configs = block.get("parameters"), {method: _config(spec, method) for method in labels["method"]}
    _check_parameters(wanted, list(configs.values()), f"{where}: parameters")
    ranges = _by_method(wanted, list(configs), f"{where}: parameters")
    own = ((method, replace(shared, method=method)) for method in configs)
    return [_of_method(spec, search, configs[method], ranges[method], where) for method, search in own]


def _by_method(wanted: Any, methods: list[str], where: str) -> dict[str, Any]:
    """What is wanted of each method: its own ranges where they are given by method, else those for all."""
    if not isinstance(wanted, dict) or not wanted.keys() & set(methods):
        return dict.fromkeys(methods, wanted)
    for name in [*wanted, *methods]:
        if name not in methods or name not in wanted:
            said = f"{name}: given by method, they must name each of {', '.join(methods)}, and nothing else"
            raise UsageError(f"{where}: {said}")
    return wanted


def _config(spec: Spec, method: str) -> type | None:
    """The flags that a method of the file reads; None if there is no such method, which its script says better."""
    from unlearn import registry

    try:
        return registry.get(str(spec.methods[method].get("unlearn", method))).config
    except UsageError:
        return None


def _of_method(spec: Spec, search: Search, config: type | None, wanted: Any, where: str) -> Search:
    """The search of one method, tried at both ends of its ranges: before hours of training, not after."""
    parameters = {}
    for name, ranged in _parameters(wanted, search.method, config, f"{where}: parameters").items():
        flag = name.replace("-", "_")
        whole = config is not None and int in (value_type(config, flag), value_type(Lora, flag))
        parameters[name] = _distribution(ranged, whole, f"{where}: parameters: {name}")
    if search.sampler == "grid" and not all(hasattr(each, "choices") for each in parameters.values()):
        raise UsageError(f"{where}: sampler grid: needs choices for every parameter")
    search = replace(search, parameters=parameters)
    for end in (0, -1):
        cells(trial_spec(spec, search, {name: _ends(each)[end] for name, each in parameters.items()}), strict=False)
    stated = spec.methods[search.method]
    grid = [name for name, value in stated.items() if isinstance(value, list) and name not in parameters]
    if grid:
        said = f"a search needs one value, or {grid[0]} among the parameters"
        raise UsageError(f"{where}: method: {search.method} is a grid over {grid[0]}; {said}")
    return search


def _check_parameters(wanted: Any, configs: list[type | None], where: str) -> None:
    """Refuse what is no mapping, no list of flags and not left out, and listed flags that no method has a range for."""
    if wanted is not None and not (isinstance(wanted, (dict, list)) and wanted):
        said = "must be a mapping of flags to ranges, or a list of flags whose ranges the methods state"
        raise UsageError(f"{where}: {said}")
    known = list(dict.fromkeys(name for config in configs for name in _stated(config)))
    for name in wanted if isinstance(wanted, list) else ():
        if name not in known:
            said = f"{name}: no method here states a range for it{nearest(str(name), known)}; give ranges as a mapping"
            raise UsageError(f"{where}: {said}")


def _parameters(wanted: Any, method: str, config: type | None, where: str) -> dict[str, dict[str, Any]]:
    """The ranges of one method: those given, or its options' own (``search=``), of which a list takes some."""
    if isinstance(wanted, dict):
        return wanted
    stated = _stated(config)
    found = {name: ranged for name, ranged in stated.items() if wanted is None or name in wanted}
    if not found:
        said = "give ranges as a mapping"
        raise UsageError(f"{where}: {method} states a range for {', '.join(stated) or 'no flag'}; {said}")
    return found


def _stated(config: type | None) -> dict[str, dict[str, Any]]:
    found = {field.name: field.metadata.get("search") for field in (fields(config) if config else ())}
    return {
        name: {"choices": ranged}
        if isinstance(ranged, list)
        else {"low": ranged[0], "high": ranged[1], "log": ranged[2] == "log"}
        for name, ranged in found.items()
        if ranged is not None
    }


def _ends(distribution: Any) -> tuple[Any, Any]:
    """The first and the last value that a parameter can take."""
    choices = getattr(distribution, "choices", None)
    return (choices[0], choices[-1]) if choices else (distribution.low, distribution.high)


def trial_spec(spec: Spec, search: Search, values: dict[str, Any]) -> Spec:
    """A file of nothing but the method with these values, on the search's models, scenarios and seeds."""

    def without(flags: Flags | None) -> Flags:
        return {name: value for name, value in (flags or {}).items() if name not in values}

    overrides = [{**override, "flags": without(override.get("flags"))} for override in spec.overrides]
    methods = {search.method: {"unlearn": search.method, **spec.methods[search.method], **values}}
    return _restricted(spec, search, methods=methods, overrides=overrides)


def _restricted(spec: Spec, search: Search, **changed: Any) -> Spec:
    """The sweep on the search's seeds, models and scenarios alone."""
    return replace(
        spec,
        seeds=search.seeds,
        models={label: spec.models[label] for label in search.models},
        scenarios={label: spec.scenarios[label] for label in search.scenarios},
        reference_model=None,
        optuna=None,
        **changed,
    )


def _distribution(wanted: Any, whole: bool, where: str) -> Any:
    """Optuna's distribution over a range or choices.

    Raises UsageError: it is neither, or a flag of whole numbers gets others.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    wanted = wanted if isinstance(wanted, dict) else {}
    check_keys(wanted, RANGE, where)
    if isinstance(wanted.get("choices"), list) and wanted["choices"]:
        return CategoricalDistribution(wanted["choices"])
    try:
        low, high = float(wanted["low"]), float(wanted["high"])
        if not math.isfinite(high - low) or low == high:
            raise ValueError
        made = FloatDistribution(low, high, log=bool(wanted.get("log")))
    except (KeyError, TypeError, ValueError):
        ways = "log: true for a logarithmic scale, from above 0"
        raise UsageError(f"{where}: must have low and high ({ways}), or a list of choices") from None
    if not whole:
        return made
    if not (low.is_integer() and high.is_integer()):
        raise UsageError(f"{where}: low {wanted['low']}, high {wanted['high']}: the flag takes whole numbers")
    return IntDistribution(int(low), int(high), log=made.log)


def in_search_folder(spec: Spec) -> Spec:
    """The sweep in ``search/`` below its folder, so that neither trials nor what they build on stand in its tables."""
    return replace(spec, folder=spec.folder / SEARCH)


def _exact(spec: Spec) -> dict[str, Any]:
    """The method that is Retrain, if the file has it."""
    exact = [(label, entry) for label, entry in spec.methods.items() if entry.get("unlearn", label) == "retrain"]
    return dict(exact[:1])


def baseline(spec: Spec, search: Search) -> list[Cell]:
    """What every trial builds on: the trainings, and Retrain on the search's models, scenarios and seeds."""
    return cells(_restricted(spec, search, methods=_exact(spec)), strict=False)


class Study:
    """One setting, model and scenario of a search: its trials in a journal that outlives its process.

    The journal is a file to which lines are only added, as Optuna advises for file systems that are shared.
    """

    def __init__(self, spec: Spec, search: Search, retrained: list[Cell], journal: Any):
        self.spec, self.search, self.retrained = spec, search, retrained
        self.place, self.name = _place(retrained[0]), _name(retrained[0], search)
        self.study = _study(journal, self.name, search)

    def trials(self) -> list[tuple[int, dict[str, Any]]]:
        """Number and values of trials that an earlier process left unfinished, then of new ones, up to ``at_once``."""
        from optuna.trial import TrialState

        begun = self.study.get_trials(deepcopy=False)
        open_ = []
        for trial in begun:
            if trial.state == TrialState.RUNNING and trial.params.keys() == self.search.parameters.keys():
                open_.append((trial.number, trial.params))
            elif trial.state == TrialState.RUNNING:  # its process ended before it had chosen
                self.tell(trial.number, None)
        for _ in range(min(self.search.at_once - len(open_), self.search.trials - len(begun))):
            trial = self._ask()
            open_.append((trial.number, trial.params))
        return open_

    def _ask(self) -> Any:
        try:
            return self.study.ask(self.search.parameters)
        except ValueError as error:
            said = "this search was begun with other ranges: give it another folder"
            raise UsageError(f"optuna: parameters: {error}; {said}") from error

    def cells(self, number: int, values: dict[str, Any]) -> list[Cell]:
        """The runs of one trial, a seed each, in folders of their own."""
        made = [
            cell
            for cell in cells(trial_spec(self.spec, self.search, values), strict=False)
            if cell.facts["stage"] == "unlearn" and all(cell.facts[name] == label for name, label in self.place.items())
        ]
        return [self._moved(cell, f"{self.name}/trial{number:03}/seed{cell.facts['seed']}") for cell in made]

    def _moved(self, cell: Cell, name: str) -> Cell:
        folder = self.spec.folder / name
        return replace(cell, name=name, folder=folder, words=(*cell.words[:-1], str(folder)))

    def gap(self, runs: list[Cell]) -> float:
        """The average gap to Retrain of a trial's runs, in [0, 1], which the search makes small.

        Of each of the four metrics the means over the seeds are compared, as in the paper's tables; ``spread`` adds a
        share of the standard deviation of the single seeds' gaps.
        """
        sides = [
            [stored.read(cell.folder / "result.json")["scores"] for cell in side] for side in (runs, self.retrained)
        ]
        means = [{metric: statistics.fmean(scores[metric] for scores in side) for metric in METRICS} for side in sides]
        spread = statistics.pstdev(_distance(*pair) for pair in zip(*sides))
        return _distance(*means) + self.search.spread * spread

    def tell(self, number: int, gap: float | None) -> None:
        """Note a trial's gap; None if it failed."""
        from optuna.trial import TrialState

        self.study.tell(number, gap, state=TrialState.FAIL if gap is None else TrialState.COMPLETE)

    def ranked(self) -> list[Any]:
        """All trials, the best first, those without a gap last."""
        return sorted(
            self.study.get_trials(deepcopy=False),
            key=lambda trial: (trial.value is None, trial.value or 0.0, trial.number),
        )

    def table(self) -> str:
        """All trials, the gap in points."""
        names = list(self.search.parameters)
        rows = [
            [
                str(trial.number),
                *(f"{trial.params.get(name, '-')}" for name in names),
                "-" if trial.value is None else f"{100 * trial.value:.2f}",
                trial.state.name.lower(),
            ]
            for trial in self.ranked()
        ]
        return f"{self.name}\n{aligned(['trial', *names, f'avg. gap{_with(self.search)}', 'state'], rows)}"


def _distance(ours: dict[str, float], exact: dict[str, float]) -> float:
    return statistics.fmean(abs(ours[metric] - exact[metric]) for metric in METRICS)


def _with(search: Search) -> str:
    """What the value of a trial holds besides the average gap, in words."""
    return f" + {search.spread:g} sd" if search.spread else ""


def _place(cell: Cell) -> dict[str, str]:
    return {name: cell.facts[name] for name in ("setting", "model", "scenario") if cell.facts[name]}


def _name(retrained: Cell, search: Search) -> str:
    return "-".join([*_place(retrained).values(), search.method])


def _study(journal: Any, name: str, search: Search) -> Any:
    import optuna

    study = optuna.create_study(study_name=name, storage=journal, direction="minimize", load_if_exists=True)
    # A search that goes on would otherwise draw its first values again.
    seed = search.seed + len(study.get_trials(deepcopy=False))
    if search.sampler == "grid":
        choices = {name: each.choices for name, each in search.parameters.items()}
        study.sampler = optuna.samplers.GridSampler(choices, seed=search.seed)
        # At the end of the grid it would stop optimize(), which does not run here.
        study.sampler.after_trial = lambda *trial: None
    elif search.sampler == "random":
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    else:
        first = min(10, max(1, search.trials // 2))
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=first)
    return study


def open_journal(folder: Path) -> Any:
    """The journal of all studies of a search."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(folder / "journal.log")))


def run(spec: Spec, searches: list[Search], state: State, executor: Any, deadline: float | None) -> int:
    """Train and retrain, then run trials until each study has its number; the exit code of ``summary``."""
    journal, base = open_journal(spec.folder), list(state.cells)
    groups: dict[str, list[Cell]] = {}
    for cell in base:
        if cell.facts["stage"] == "unlearn":
            groups.setdefault("/".join(_place(cell).values()), []).append(cell)
    names = [_name(retrained[0], search) for search in searches for retrained in groups.values()]
    for name in names:
        if names.count(name) > 1:
            said = "give a model, scenario or method another label"
            raise UsageError(f"{spec.file}: optuna: two searches are called {name}; {said}")
    first = Runner(state, base, executor, deadline)
    first.run()
    text, code = summary(state, base, first.given_up)
    if code:
        print(f"\n{text}", flush=True)
        return code
    studies = [Study(spec, search, retrained, journal) for search in searches for retrained in groups.values()]
    while batch := [
        (study, number, study.cells(number, values)) for study in studies for number, values in study.trials()
    ]:
        trial_cells = [cell for *_, runs in batch for cell in runs]
        state.add(trial_cells)
        Runner(state, trial_cells, executor, deadline).run()
        for study, number, runs in batch:
            if all(map(state.done, runs)):
                study.tell(number, study.gap(runs))
            elif any(map(state.failed, runs)):
                study.tell(number, None)
        if not all(state.done(cell) or state.failed(cell) for cell in trial_cells):
            return RESUMABLE
    print("\n".join(["", *(f"{study.table()}\n" for study in studies), best(spec.folder, studies)]), flush=True)
    return 0 if all(study.ranked()[0].value is not None for study in studies) else 1


def best(folder: Path, studies: list[Study]) -> str:
    """Store the best values as ``best.json``; say them as lines for the ``overrides`` of a sweep's file."""
    found, lines = {}, []
    for study in studies:
        trial = study.ranked()[0]
        if trial.value is not None:
            found[study.name] = {
                **study.place,
                "method": study.search.method,
                "values": trial.params,
                "average_gap": trial.value,
                "trial": trial.number,
            }
            found[study.name] |= {"spread": study.search.spread} if study.search.spread else {}
            axes = ", ".join(f"{key}: {value}" for key, value in {**study.place, "method": study.search.method}.items())
            flags = ", ".join(f"{key}: {value}" for key, value in trial.params.items())
        gap = f"average gap{_with(study.search)} {100 * trial.value:.2f} points"
        lines.append(f"  - {{{axes}, flags: {{{flags}}}}}  # {gap}")
    files.write_json(folder / "best.json", found)
    return "\n".join(["overrides:", *lines])
