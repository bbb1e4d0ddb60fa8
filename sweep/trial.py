"""The cells of a search: the runs that all trials build on, and the runs of one trial."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from report.runs import SEARCH
from sweep.grid import Cell, cells
from sweep.spec import Flags, Spec

if TYPE_CHECKING:
    from sweep.search_block import Search


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
