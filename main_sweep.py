#!/usr/bin/env python3
"""Run everything that a YAML file states: trainings, then unlearning, for every setting and seed.

    python main_sweep.py experiments/table1-small.yaml
    python main_sweep.py experiments/table1.yaml --executor slurm --partition gpu --gpus 1 --max_concurrent 16
    python main_sweep.py experiments/table1.yaml --print > commands.txt
    python main_report.py runs/table1

A file states a grid, seeds and exceptions (docs/sweeps.md); each cell is one plain command line, which --print shows.
What is done is skipped, what was cut goes on, unlearning waits for its model. Called again, the same command does what
is left. Exit code 0: all done; 1: some failed; 75: nothing failed, but not all is done.
"""

from __future__ import annotations

from sweep import grid, spec
from sweep.command import parse
from utils.errors import leave, script


@script
def main(argv: list[str] | None = None) -> int:
    file, what, where = parse(argv)
    stated = spec.read(file, what.folder)
    cells = grid.cells(stated)
    wanted = None
    if stated.optuna is not None:
        from sweep import search_block, trial

        wanted = search_block.read(stated)
        stated = trial.in_search_folder(stated)
        cells = trial.baseline(stated, wanted[0])
    if what.print:
        print("\n".join(cell.command for cell in grid.of_stage(cells, what.stage)))
        return 0
    from sweep.launch import execute

    return execute(stated, cells, wanted, where, what)


if __name__ == "__main__":
    leave(main())
