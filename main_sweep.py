#!/usr/bin/env python3
"""Run everything that a YAML file states: trainings, then unlearning, for every setting and seed.

    python main_sweep.py experiments/table1-small.yaml
    python main_sweep.py experiments/table1.yaml --executor slurm --partition gpu --gpus 1 --time 360 --max_concurrent 16
    python main_sweep.py experiments/table1.yaml --print > commands.txt
    python main_report.py runs/table1

A file states a grid, seeds and exceptions (docs/sweeps.md); each cell is one plain command line, which --print shows.
What is done is skipped, what was cut goes on, unlearning waits for its model. Called again, the same command does what
is left. Exit code 0: all done; 1: some failed; 75: nothing failed, but not all is done.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep import grid, spec
from utils.errors import UsageError, leave, script
from utils.options import Parser, add_options, build, option

if TYPE_CHECKING:
    from sweep.search import Search


@dataclass(frozen=True)
class Where:
    """How the cells run; what is not typed is as the file's ``resources`` say."""

    executor: str = option("local", "on this machine, or as SLURM job arrays", choices=("local", "slurm"))
    max_concurrent: int | None = option(
        None, "runs at a time; here one per GPU without it, or as many as there are cores", low=1
    )
    gpus: int | None = option(None, "GPUs per run; here 1 without it if there are any, 0 runs on the CPU", low=0)
    cpus: int | None = option(None, "cores per run, and its threads; 1 without it", low=1)
    time: int | None = option(
        None, "minutes per SLURM job; a longer run is requeued and goes on; 240 without it", low=1
    )
    partition: str | None = option(None, "SLURM partition", metavar="NAME")
    time_limit: float | None = option(None, "minutes after which to stop cleanly; SLURM jobs go on", above=0)


@dataclass(frozen=True)
class What:
    """What is done with the cells."""

    folder: str | None = option(None, "where all runs go, instead of the file's folder", metavar="DIR")
    print: bool = option(False, "print the command lines in order, runnable by hand, and stop")
    stage: int | None = option(
        None, "with --print: only the commands of this stage, 1 for those that need no other", low=1
    )
    dry_run: bool = option(False, "print what is done and what would run, and stop")


@script
def main(argv: list[str] | None = None) -> int:
    file, what, where = parse(argv)
    stated = spec.read(file, what.folder)
    cells = grid.cells(stated)
    wanted = None
    if stated.optuna is not None:
        from sweep import search

        wanted = search.read(stated)
        stated = search.apart(stated)
        cells = search.baseline(stated, wanted[0])
    if what.print:
        print("\n".join(cell.command for cell in of_stage(cells, what.stage)))
        return 0
    return carry_out(stated, cells, wanted, where, what)


def of_stage(cells: list[grid.Cell], stage: int | None) -> list[grid.Cell]:
    """The cells of one stage, or all of them.

    Raises:
        UsageError: there are less stages.
    """
    by_name = {cell.name: cell for cell in cells}
    last = max(grid.stage(cell, by_name) for cell in cells)
    if stage is not None and stage > last:
        raise UsageError(f"--stage {stage}: the last stage is {last}")
    return [cell for cell in cells if stage in (None, grid.stage(cell, by_name))]


def parse(argv: list[str] | None) -> tuple[Path, What, Where]:
    """The sweep's file, what is done with it and where.

    Raises:
        UsageError: anything wrong that can be seen without reading the file.
    """
    parser = Parser(
        prog="main_sweep.py", description="Run everything that a YAML file states, on this machine or on SLURM."
    )
    parser.add_argument("file", metavar="FILE", help="what to run, see docs/sweeps.md and experiments/")
    add_options(parser.add_argument_group("what"), What)
    add_options(parser.add_argument_group("where"), Where)
    typed = parser.read(argv)
    what, where = build(What, typed), build(Where, typed)
    if what.stage is not None and not what.print:
        raise UsageError("--stage: is read with --print only")
    return Path(typed["file"]), what, where


def carry_out(stated: spec.Spec, cells: list[grid.Cell], wanted: list[Search] | None, where: Where, what: What) -> int:
    """Run what is not done, or say what would run.

    Args:
        wanted: what to tune, a search per method; ``cells`` are then those that the trials build on.
    """
    from sweep import search
    from sweep.executors import EXECUTORS
    from sweep.runner import Runner, summary
    from sweep.state import State, alone

    began = time.monotonic()
    state, resources = State(stated, cells), resources_of(stated, where)
    if what.dry_run:
        print(preview(state, resources, where.executor))
        for each in wanted or ():
            print(
                f"then {each.trials} trials of {each.method} over {', '.join(each.parameters)} for each model and "
                f"scenario, {len(each.seeds)} runs each"
            )
        return 0
    with alone(stated.folder):
        if wanted is None:
            state.write_manifest()
        executor = EXECUTORS[where.executor](state, resources)
        print(
            f"{stated.title}: {len(cells)} runs, {sum(map(state.done, cells))} done; {executor.words}; folder "
            f"{stated.folder}",
            flush=True,
        )
        deadline = None if where.time_limit is None else began + 60 * where.time_limit
        if wanted is not None:
            return search.carry_out(stated, wanted, state, executor, deadline)
        runner = Runner(state, cells, executor, deadline)
        try:
            runner.run()
        finally:
            text, code = summary(state, cells, runner.given_up)
            print(f"\n{text}\n\ntables: python main_report.py {stated.folder}", flush=True)
    return code


def resources_of(stated: spec.Spec, where: Where) -> Any:
    """What each run gets: as typed, else as the file says, else as usual."""
    from sweep.executors import Resources

    typed = {key: getattr(where, key) for key in ("gpus", "cpus", "time", "partition")}
    given = {**stated.resources, **{key: value for key, value in typed.items() if value is not None}}
    return replace(Resources(**given), at_once=where.max_concurrent)


def preview(state: Any, resources: Any, executor: str) -> str:
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


if __name__ == "__main__":
    leave(main())
