"""The command line of ``main_sweep.py``. Imports neither torch nor submitit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from utils.errors import UsageError
from utils.options import Parser, add_options, build, option


@dataclass(frozen=True)
class Execution:
    """How the cells run. Flags that are not typed take their values from the file's ``resources``."""

    executor: str = option("local", "on this machine, or as SLURM job arrays", choices=("local", "slurm"))
    max_concurrent: int | None = option(None, "runs at a time; here one per GPU, or as many as there are cores", low=1)
    gpus: int | None = option(None, "GPUs per run; here 1 without it if there are any, 0 runs on the CPU", low=0)
    cpus: int | None = option(None, "cores per run, and its threads; 1 without it", low=1)
    time: int | None = option(
        None, "minutes per SLURM job; 240 without it; a longer run is requeued and goes on", low=1
    )
    cells_per_process: int | None = option(
        None,
        "runs that one Python makes one after the other, each forked off it; 500 without it; 1 starts each anew",
        low=1,
    )
    cells_per_job: int | None = option(
        None, "runs that a SLURM job makes; as few as keep an array below 500 jobs without it", low=1
    )
    models_at_once: str | None = option(
        None,
        "runs that differ only in seeds, splits and numbers that are computed as one, here: how many, or auto for as "
        "many as pay; 1 without it",
        metavar="N",
    )
    partition: str | None = option(None, "SLURM partition", metavar="NAME")
    time_limit: float | None = option(None, "minutes after which to stop cleanly; SLURM jobs go on", above=0)


@dataclass(frozen=True)
class Action:
    """What is done with the cells."""

    folder: str | None = option(None, "where all runs go, instead of the file's folder", metavar="DIR")
    print: bool = option(False, "print the command lines in order, runnable by hand, and stop")
    stage: int | None = option(None, "with --print: only this stage's commands; 1 is those that need no other", low=1)
    dry_run: bool = option(False, "print what is done and what would run, and stop")


def parse(argv: list[str] | None) -> tuple[Path, Action, Execution]:
    """Parse the command line: path of the sweep's file, what to do with its cells, and how to run them.

    Args:
        argv: words of the command line; None for those of this process.
    Raises:
        UsageError: a flag is wrong. The sweep's file is not read.
    """
    description = "Run everything that a YAML file states, on this machine or on SLURM."
    parser = Parser(prog="main_sweep.py", description=description)
    parser.add_argument("file", metavar="FILE", help="what to run, see docs/sweeps.md and experiments/")
    add_options(parser.add_argument_group("what"), Action)
    add_options(parser.add_argument_group("where"), Execution)
    typed = parser.read(argv)
    action, execution = build(Action, typed), build(Execution, typed)
    if action.stage is not None and not action.print:
        raise UsageError("--stage: is read with --print only")
    return Path(typed["file"]), action, execution
