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
    file, action, execution = parse(argv)
    sweep_spec = spec.read(file, action.folder)
    cells = grid.cells(sweep_spec)
    searches = None
    if sweep_spec.optuna is not None:
        from sweep import search_block, trial

        searches = search_block.read(sweep_spec)
        sweep_spec = trial.in_search_folder(sweep_spec)
        cells = trial.baseline(sweep_spec, searches[0])
    if action.print:
        print("\n".join(cell.command for cell in grid.of_stage(cells, action.stage)))
        return 0
    from sweep.launch import execute

    return execute(sweep_spec, cells, searches, execution, action)


if __name__ == "__main__":
    leave(main())
