"""Tunes hyper-parameters of methods by Optuna: trainings and Retrain first, then the trials of every study."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sweep.grid import Cell
from sweep.runner import Runner, summary
from sweep.search_study import Study, name, open_journal
from sweep.spec import Spec
from sweep.state import State
from sweep.trial import Search, place, runs
from sweep.winners import FILE, best
from utils.errors import UsageError
from utils.preempt import RESUMABLE

Studied = list[tuple[Search, list[Cell]]]  # of each study: its search and Retrain's runs


def run(spec: Spec, searches: list[Search], state: State, executor: Any, deadline: float | None) -> int:
    """Run the trainings and Retrain, then trials until each study has as many as its search asks for.

    Args:
        state: of the cells that trials build on.
        executor: a ``Local`` or ``Slurm``.
        deadline: when to stop, in seconds of ``time.monotonic``; None for no limit.
    Returns:
        The sweep's exit code: 0, 1 if a run that trials build on failed or a group has no winner, 75 if work is left.
    Raises:
        UsageError: two studies have one name, or the folder holds trials of other ranges.
    """
    base, studied = list(state.cells), _studied(spec, searches, state.cells)
    journal = open_journal(spec.folder)
    first = Runner(state, base, executor, deadline)
    first.run()
    text, code = summary(state, base, first.given_up)
    if code:
        print(f"\n{text}", flush=True)
        return code
    studies = [Study(spec, search, retrained, journal) for search, retrained in studied]
    while batch := [
        (study, number, study.cells(number, values)) for study in studies for number, values in study.trials()
    ]:
        trial_cells = [cell for *_, runs in batch for cell in runs]
        state.add(trial_cells)
        Runner(state, trial_cells, executor, deadline).run()
        for study, number, own in batch:
            if all(map(state.done, own)):
                study.judge(number, own)
            elif any(map(state.failed, own)):
                study.fail(number)
        if not all(state.done(cell) or state.failed(cell) for cell in trial_cells):
            return RESUMABLE
    text, complete = best(spec, studies)
    print("\n".join(["", *(f"{study.table()}\n" for study in studies), text]), flush=True)
    print(f"\nfor a table: extends: {spec.folder / FILE}", flush=True)
    return 0 if complete else 1


def _studied(spec: Spec, searches: list[Search], base: list[Cell]) -> Studied:
    """The studies: one for each setting, model and scenario, or for each seed of these if the objective is per seed.

    There is none where overrides leave the method out. Two studies with one name are refused.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in base:
        if cell.facts["stage"] == "unlearn":
            groups.setdefault("/".join(place(cell).values()), []).append(cell)
    studied: Studied = []
    for search in searches:
        wanted = [(place(cell), cell.facts["seed"]) for cell in runs(spec, search, search.end(0))]
        for group in groups.values():
            cells = [cell for cell in group if (place(cell), cell.facts["seed"]) in wanted]
            if not cells:
                continue
            if search.objective.per_seed:
                studied += [(replace(search, seeds=[cell.facts["seed"]]), [cell]) for cell in cells]
            else:
                studied.append((search, cells))
    names = [name(retrained[0], search) for search, retrained in studied]
    for each in names:
        if names.count(each) > 1:
            hint = "give a model, scenario or method another label"
            raise UsageError(f"{spec.file}: optuna: two searches are called {each}; {hint}")
    return studied
