"""One running study of a search: Optuna chooses its trials, and a journal file keeps them."""

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
from sweep.spec import Spec
from sweep.trial import Search, place, runs
from utils.errors import UsageError


class Study:
    """The trials of a search on one setting, model and scenario, and on one seed if the objective is per seed.

    Its trials are kept in a journal, a file to which lines are only appended. Optuna recommends it for shared file
    systems. A study can be continued from it after its process has ended.

    Args:
        retrained: Retrain's runs on this setting, model and scenario, one per seed.
        journal: what ``open_journal`` returned.
    Attributes:
        place: the study's labels by "setting", "model" and "scenario", as far as the file has these.
        group: studies with the same group share a winner.
    """

    def __init__(self, spec: Spec, search: Search, retrained: list[Cell], journal: Any):
        self.spec, self.search, self.retrained = spec, search, retrained
        self.place, self.name = place(retrained[0]), name(retrained[0], search)
        shared = {axis: label for axis, label in self.place.items() if axis not in search.over}
        self.group = "-".join([*shared.values(), search.method])
        self.study = _study(journal, self.name, search)

    def trials(self) -> list[tuple[int, dict[str, Any]]]:
        """Number and values of the next trials: those that an earlier process left unfinished, then new ones.

        With the new ones there are ``Search.at_once``, unless the study needs fewer. Empty once it has all its trials.

        Raises:
            UsageError: the study was begun with other ranges.
        """
        from optuna.trial import TrialState

        begun = self.study.get_trials(deepcopy=False)
        open_ = []
        for trial in begun:
            if trial.state == TrialState.RUNNING and trial.params.keys() == self.search.parameters.keys():
                open_.append((trial.number, trial.params))
            elif trial.state == TrialState.RUNNING:  # its process ended before all values were chosen
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
        """The runs of trial ``number`` with these flags, one per seed, in folders of their own."""
        own = [cell for cell in runs(self.spec, self.search, values) if place(cell) == self.place]
        return [self._moved(cell, f"{self.name}/{TRIAL}{number:03}/seed{cell.facts['seed']}") for cell in own]

    def _moved(self, cell: Cell, name: str) -> Cell:
        folder = self.spec.folder / name
        return replace(cell, name=name, folder=folder, argv=(*cell.argv[:-1], str(folder)))

    def judge(self, number: int, runs: list[Cell]) -> None:
        """Judge trial ``number``, whose ``runs`` are done and in the order of Retrain's, and store its values."""
        sides = [[stored.read(cell.folder / "result.json") for cell in side] for side in (runs, self.retrained)]
        self.tell(number, self.search.objective.values(sides[0], sides[1], self.search.spread))

    def fail(self, number: int) -> None:
        """Store that a run of trial ``number`` failed."""
        self.tell(number, self.search.objective.failed)

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """Store the values of trial ``number``; None marks it as failed."""
        from optuna.trial import TrialState

        self.study.tell(number, values, state=TrialState.FAIL if values is None else TrialState.COMPLETE)

    def ranked(self) -> list[Any]:
        """All trials by the norm of their values, the least first; those without values last."""
        return sorted(self.study.get_trials(deepcopy=False), key=lambda trial: (norm(trial.values), trial.number))

    def table(self) -> str:
        """A text table of all trials, the best first, with their values in percentage points."""
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
    """Titles of the columns of ``points``: each part of the objective, then "norm" if there are several."""
    parts = search.objective.parts
    added = f" + {search.spread:g} sd" if search.spread else ""
    return [*(f"{part}{added}" for part in parts), *(["norm"] if len(parts) > 1 else [])]


def points(values: Sequence[float]) -> list[str]:
    """A trial's values (fractions) as texts in percentage points, followed by their norm if there are several."""
    return [f"{100 * value:.2f}" for value in (*values, *([norm(values)] if len(values) > 1 else []))]


def name(retrained: Cell, search: Search) -> str:
    """The name of a study, which is also its folder's.

    Args:
        retrained: one of Retrain's runs that it is compared with.
    """
    own = [search.objective.name, f"seed{search.seeds[0]}"] if search.objective.per_seed else []
    return "-".join([*place(retrained).values(), search.method, *own])


def _study(journal: Any, name: str, search: Search) -> Any:
    import optuna

    ways = ["minimize"] * len(search.objective.parts)
    study = optuna.create_study(study_name=name, storage=journal, directions=ways, load_if_exists=True)
    own = search.seeds[0] if search.objective.per_seed else 0
    # With a constant seed, a study that is continued would draw its first values again.
    seed = search.seed + own + len(study.get_trials(deepcopy=False))
    if search.sampler == "grid":
        choices = {name: each.choices for name, each in search.parameters.items()}
        study.sampler = optuna.samplers.GridSampler(choices, seed=search.seed)
        # At the end of the grid the sampler would call study.stop(), which is refused outside optimize().
        study.sampler.after_trial = lambda *trial: None
    elif search.sampler == "random":
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    elif search.sampler == "nsga3":
        with warnings.catch_warnings():  # Optuna warns that the sampler's interface may change
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = optuna.samplers.NSGAIIISampler(seed=seed, population_size=search.population)
    else:
        first = min(10, max(1, search.trials // 2))
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=first)
    return study


def open_journal(folder: Path) -> Any:
    """Optuna's storage for all studies of a sweep, ``journal.log`` in ``folder``."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(folder / "journal.log")))
