"""Runs a sweep's cells on the executor that was asked for, or says what would run."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from sweep import search
from sweep.command import Action, Execution
from sweep.executors import EXECUTORS
from sweep.grid import Cell
from sweep.resources import Resources
from sweep.runner import Runner, summary
from sweep.search_block import Search
from sweep.spec import Spec
from sweep.state import State, keep_others_out


def execute(stated: Spec, cells: list[Cell], wanted: list[Search] | None, where: Execution, what: Action) -> int:
    """Run what is not done, or say what would run.

    Args:
        wanted: what to tune, a search per method; ``cells`` are then those that the trials build on.
    """
    began = time.monotonic()
    state, resources = State(stated, cells, notes=not what.dry_run), resources_of(stated, where)
    if what.dry_run:
        print(preview(state, resources, where.executor))
        for each in wanted or ():
            places = "model, scenario and seed" if each.objective.per_seed else "model and scenario"
            runs = 1 if each.objective.per_seed else len(each.seeds)
            over = f"over {', '.join(each.parameters)} for each {places}, {runs} run{'s' * (runs > 1)} each"
            print(f"then {each.trials} trials of {each.method} {over}")
        return 0
    keep_others_out(stated.folder)
    if wanted is None:
        state.write_manifest()
    executor = EXECUTORS[where.executor](state, resources)
    done = sum(map(state.done, cells))
    print(f"{stated.title}: {len(cells)} runs, {done} done; {executor.words}; folder {stated.folder}", flush=True)
    deadline = None if where.time_limit is None else began + 60 * where.time_limit
    with contextlib.closing(executor):
        if wanted is not None:
            return search.run(stated, wanted, state, executor, deadline)
        runner = Runner(state, cells, executor, deadline)
        try:
            runner.run()
        finally:
            text, code = summary(state, cells, runner.given_up)
            print(f"\n{text}\n\ntables: python main_report.py {stated.folder}", flush=True)
        return code


def resources_of(stated: Spec, where: Execution) -> Resources:
    """What each run gets: as typed, else as the file says, else as usual."""
    kept = ("gpus", "cpus", "time", "partition", "cells_per_process", "cells_per_job")
    typed = {key: getattr(where, key) for key in kept}
    given = {**stated.resources, **{key: value for key, value in typed.items() if value is not None}}
    return replace(Resources(**given), at_once=where.max_concurrent)


def preview(state: State, resources: Resources, executor: str) -> str:
    """What is done and what would run, without starting anything."""
    lines = []
    for cell in state.cells:
        begun = any(cell.folder.glob("*.pth.tar"))
        word = "done" if state.done(cell) else "goes on" if begun else "failed" if state.failed(cell) else "runs"
        needs = [name for name in cell.needs if not state.done(state.by_name[name])]
        lines.append(f"{word:<8} {cell.name}" + (f"  after {', '.join(needs)}" if needs and word != "done" else ""))
    words = [line.split()[0] for line in lines]
    total = "  ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    return "\n".join([*lines, "", f"{len(lines)} runs: {total}", f"executor {executor}, {resources}"])
