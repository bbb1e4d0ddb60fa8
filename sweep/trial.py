"""A search, and its cells: the runs that all trials build on, and the runs of one trial."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from report.runs import SEARCH
from sweep.grid import Cell, cells
from sweep.objective import Objective
from sweep.spec import Flags, Spec


@dataclass(frozen=True)
class Search:
    """The tuning of one method, done for each setting, model and scenario on its own.

    Attributes:
        method: label of one of the file's methods.
        parameters: Optuna's distribution of each tuned flag, by the flag's name without dashes.
        objective: what trials are judged by.
        trials: number of trials per study.
        at_once: trials that run side by side; the next ones learn from all of them.
        seeds: seeds that every trial runs with; each is a study of its own if the objective is per seed.
        models: labels of the file's models to tune on.
        scenarios: labels of the file's scenarios to tune on.
        over: axes ("setting", "model", "scenario") over which one winner is shared.
        sampler: one of ``SAMPLERS``.
        seed: of the sampler.
        population: trials per generation of the sampler nsga3.
        spread: factor by which a value's standard deviation over the seeds is added to it.
    """

    method: str
    parameters: dict[str, Any]
    objective: Objective
    trials: int
    at_once: int
    seeds: list[int]
    models: list[str]
    scenarios: list[str]
    over: list[str]
    sampler: str
    seed: int
    population: int
    spread: float

    def end(self, number: int) -> dict[str, Any]:
        """For every tuned flag the first value of its range or choices (``number`` 0), or the last (-1)."""
        return {name: _ends(each)[number] for name, each in self.parameters.items()}


def _ends(distribution: Any) -> tuple[Any, Any]:
    """The first and the last value that a parameter can take."""
    choices = getattr(distribution, "choices", None)
    return (choices[0], choices[-1]) if choices else (distribution.low, distribution.high)


def in_search_folder(spec: Spec) -> Spec:
    """The sweep with ``search/`` below its folder as folder, so that its tables do not list the runs of a search."""
    return replace(spec, folder=spec.folder / SEARCH)


def baseline(spec: Spec, search: Search) -> list[Cell]:
    """The runs that every trial builds on: trainings, and Retrain on the search's models, scenarios and seeds."""
    return cells(_restricted(spec, search, methods=_exact(spec)), strict=False)


def _exact(spec: Spec) -> dict[str, Any]:
    """The method that is Retrain, if the file has it."""
    exact = [(label, entry) for label, entry in spec.methods.items() if entry.get("unlearn", label) == "retrain"]
    return dict(exact[:1])


def runs(spec: Spec, search: Search, values: dict[str, Any]) -> list[Cell]:
    """The runs of the search's method with these flags, without those that ``flags: false`` leaves out.

    Args:
        values: values of the tuned flags by name.
    Returns:
        Cells in the folders that the sweep itself would give them; ``Study.cells`` moves them.
    """
    return [cell for cell in cells(trial_spec(spec, search, values), strict=False) if cell.facts["stage"] == "unlearn"]


def place(cell: Cell) -> dict[str, str]:
    """The labels of a run by "setting", "model" and "scenario", as far as the file has these."""
    return {axis: cell.facts[axis] for axis in ("setting", "model", "scenario") if cell.facts[axis]}


def trial_spec(spec: Spec, search: Search, values: dict[str, Any]) -> Spec:
    """The sweep with the search's method alone, its tuned flags set to ``values``, on the search's seeds.

    Overrides of the tuned flags are dropped. Models and scenarios are the search's.
    """

    def without(flags: Flags | Literal[False] | None) -> Flags | Literal[False]:
        return flags is not False and {name: value for name, value in (flags or {}).items() if name not in values}

    overrides = [{**override, "flags": without(override.get("flags"))} for override in spec.overrides]
    methods = {search.method: {"unlearn": search.method, **spec.methods[search.method], **values}}
    return _restricted(spec, search, methods=methods, overrides=overrides)


def _restricted(spec: Spec, search: Search, **changed: Any) -> Spec:
    """The sweep on the search's seeds, models and scenarios alone, with further fields ``changed``."""
    return replace(
        spec,
        seeds=search.seeds,
        models={label: spec.models[label] for label in search.models},
        scenarios={label: spec.scenarios[label] for label in search.scenarios},
        reference_model=None,
        optuna=None,
        **changed,
    )
