"""Runs a sweep's cells on the executor that was asked for, or says what would run."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from sweep import search
from sweep.alike import AUTO
from sweep.command import Action, Execution
from sweep.executors import EXECUTORS
from sweep.grid import Cell
from sweep.resources import Resources
from sweep.runner import Runner, summary
from sweep.spec import Spec
from sweep.state import State, keep_others_out
from sweep.trial import Search
from utils.errors import UsageError


def execute(spec: Spec, cells: list[Cell], searches: list[Search] | None, execution: Execution, action: Action) -> int:
    """Run the cells that are not done, or with ``--dry_run`` print what would run.

    Args:
        cells: all cells of the sweep; those that the trials build on if there are searches.
        searches: one for each method to tune; None for a sweep without an ``optuna`` block.
    Returns:
        The exit code of ``main_sweep.py``.
    Raises:
        UsageError: the executor cannot give what is asked for.
        RunError: another sweep is at work in the folder.
    """
    began = time.monotonic()
    state, resources = State(spec, cells, notes=not action.dry_run), resources_of(spec, execution)
    if action.dry_run:
        print(preview(state, resources, execution.executor))
        for each in searches or ():
            places = "model, scenario and seed" if each.objective.per_seed else "model and scenario"
            runs = 1 if each.objective.per_seed else len(each.seeds)
            over = f"over {', '.join(each.parameters)} for each {places}, {runs} run{'s' * (runs > 1)} each"
            print(f"then {each.trials} trials of {each.method} {over}")
        return 0
    keep_others_out(spec.folder)
    if searches is None:
        state.write_manifest()
    executor = EXECUTORS[execution.executor](state, resources)
    done = sum(map(state.done, cells))
    print(f"{spec.title}: {len(cells)} runs, {done} done; {executor.description}; folder {spec.folder}", flush=True)
    deadline = None if execution.time_limit is None else began + 60 * execution.time_limit
    with contextlib.closing(executor):
        if searches is not None:
            return search.run(spec, searches, state, executor, deadline)
        runner = Runner(state, cells, executor, deadline)
        try:
            runner.run()
        finally:
            text, code = summary(state, cells, runner.given_up)
            print(f"\n{text}\n\ntables: python main_report.py {spec.folder}", flush=True)
        return code


def resources_of(spec: Spec, execution: Execution) -> Resources:
    """What each run gets: typed flags take precedence over the file's ``resources``, those over the defaults.

    Raises:
        UsageError: ``--models_at_once`` is no number, or given with SLURM.
    """
    own = ("gpus", "cpus", "time", "partition", "cells_per_process", "cells_per_job")
    typed = {key: getattr(execution, key) for key in own}
    given = {**spec.resources, **{key: value for key, value in typed.items() if value is not None}}
    resources = replace(Resources(**given), at_once=execution.max_concurrent)
    return resources if execution.models_at_once is None else replace(resources, models_at_once=_models(execution))


def _models(execution: Execution) -> int | None:
    """The value of ``--models_at_once``; None for "auto"."""
    typed = execution.models_at_once
    if execution.executor == "slurm":
        raise UsageError("--models_at_once: SLURM's jobs run their cells one after the other; leave it out")
    if typed == AUTO:
        return None
    if typed is None or not typed.isdecimal() or int(typed) < 1:
        raise UsageError(f"--models_at_once {typed}: must be a whole number from 1 on, or {AUTO}")
    return int(typed)


def preview(state: State, resources: Resources, executor: str) -> str:
    """The text of ``--dry_run``: a line per cell, done, goes on, failed or runs, and what it waits for."""
    lines = []
    for cell in state.cells:
        begun = any(cell.folder.glob("*.pth.tar"))
        word = "done" if state.done(cell) else "goes on" if begun else "failed" if state.failed(cell) else "runs"
        needs = [name for name in cell.needs if not state.done(state.by_name[name])]
        lines.append(f"{word:<8} {cell.name}" + (f"  after {', '.join(needs)}" if needs and word != "done" else ""))
    words = [line.split()[0] for line in lines]
    total = "  ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    return "\n".join([*lines, "", f"{len(lines)} runs: {total}", f"executor {executor}, {resources}"])
