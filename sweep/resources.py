"""What each run of a sweep gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

JOBS = "jobs"  # the folder in the sweep's own for what those say that run cells


@dataclass(frozen=True)
class Resources:
    """What each run gets.

    Attributes:
        at_once: runs at a time; None for as many as there is room for.
        gpus: per run; None takes one each where this machine has any.
        cpus: cores per run, and its threads.
        time: minutes per SLURM job; a job that needs more is requeued and goes on.
        slurm: further sbatch options by their long names.
        cells_per_process: runs that share one Python; 1 gives each its own.
        cells_per_job: runs one after the other in a SLURM job; None for as few as keep an array short.
    """

    at_once: int | None = None
    gpus: int | None = None
    cpus: int = 1
    time: int = 240
    partition: str | None = None
    slurm: dict[str, Any] = field(default_factory=dict)
    cells_per_process: int = 500
    cells_per_job: int | None = None
