"""One search under way: its trials, which Optuna chooses and a journal keeps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from report import runs as stored
from report.text import aligned
from report.verdict import TRIAL
from sweep.grid import Cell
from sweep.objective import norm
from sweep.search_block import Search
from sweep.spec import Spec
from sweep.trial import place, runs
from utils.errors import UsageError


class Study:
    """One setting, model, scenario and, if its objective has it so, seed of a search.

    Its trials are in a journal that outlives its process, a file to which lines are only added, as Optuna advises for
    file systems that are shared.

    Attributes:
        place: the labels that the study is for, by "setting", "model" and "scenario".
        group: studies of one group share a winner.
    """

    def __init__(self, spec: Spec, search: Search, retrained: list[Cell], journal: Any):
        self.spec, self.search, self.retrained = spec, search, retrained
        self.place, self.name = place(retrained[0]), name(retrained[0], search)
        shared = {axis: label for axis, label in self.place.items() if axis not in search.over}
        self.group = "-".join([*shared.values(), search.method])
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
            reason = "this search was begun with other ranges: give it another folder"
            raise UsageError(f"optuna: parameters: {error}; {reason}") from error

    def cells(self, number: int, values: dict[str, Any]) -> list[Cell]:
        """The runs of one trial, a seed each, in folders of their own."""
        own = [cell for cell in runs(self.spec, self.search, values) if place(cell) == self.place]
        return [self._moved(cell, f"{self.name}/{TRIAL}{number:03}/seed{cell.facts['seed']}") for cell in own]

    def _moved(self, cell: Cell, name: str) -> Cell:
        folder = self.spec.folder / name
        return replace(cell, name=name, folder=folder, argv=(*cell.argv[:-1], str(folder)))

    def judge(self, number: int, runs: list[Cell]) -> None:
        """Note the values of a trial whose runs are done."""
        sides = [[stored.read(cell.folder / "result.json") for cell in side] for side in (runs, self.retrained)]
        self.tell(number, self.search.objective.values(sides[0], sides[1], self.search.spread))

    def fail(self, number: int) -> None:
        """Note that a run of a trial failed."""
        self.tell(number, self.search.objective.failed)

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """Note a trial's values; None if it has none."""
        from optuna.trial import TrialState

        self.study.tell(number, values, state=TrialState.FAIL if values is None else TrialState.COMPLETE)

    def ranked(self) -> list[Any]:
        """All trials, the best first, those without values last."""
        return sorted(self.study.get_trials(deepcopy=False), key=lambda trial: (norm(trial.values), trial.number))

    def table(self) -> str:
        """All trials, what they are judged by in points."""
        names, parts = list(self.search.parameters), columns(self.search)
        rows = [
            [
                str(trial.number),
                *(f"{trial.params.get(name, '-')}" for name in names),
                *(["-"] * len(parts) if trial.values is None else points(trial.values)),
                trial.state.name.lower(),
            ]
            for trial in self.ranked()
        ]
        return f"{self.name}\n{aligned(['trial', *names, *parts, 'state'], rows)}"


def columns(search: Search) -> list[str]:
    """Titles of what a trial is judged by; of several values their norm comes last."""
    parts = search.objective.parts
    added = f" + {search.spread:g} sd" if search.spread else ""
    return [*(f"{part}{added}" for part in parts), *(["norm"] if len(parts) > 1 else [])]


def points(values: Sequence[float]) -> list[str]:
    """Values in points; of several their norm comes last."""
    return [f"{100 * value:.2f}" for value in (*values, *([norm(values)] if len(values) > 1 else []))]


def name(retrained: Cell, search: Search) -> str:
    """The name of a study, which is that of its folder too."""
    own = [search.objective.name, f"seed{search.seeds[0]}"] if search.objective.per_seed else []
    return "-".join([*place(retrained).values(), search.method, *own])


def _study(journal: Any, name: str, search: Search) -> Any:
    import optuna

    ways = ["minimize"] * len(search.objective.parts)
    study = optuna.create_study(study_name=name, storage=journal, directions=ways, load_if_exists=True)
    own = search.seeds[0] if search.objective.per_seed else 0
    # A search that goes on would otherwise draw its first values again.
    seed = search.seed + own + len(study.get_trials(deepcopy=False))
    if search.sampler == "grid":
        choices = {name: each.choices for name, each in search.parameters.items()}
        study.sampler = optuna.samplers.GridSampler(choices, seed=search.seed)
        # At the end of the grid it would stop optimize(), which does not run here.
        study.sampler.after_trial = lambda *trial: None
    elif search.sampler == "random":
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    elif search.sampler == "nsga3":
        with warnings.catch_warnings():  # that its interface may change
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = optuna.samplers.NSGAIIISampler(seed=seed, population_size=search.population)
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
