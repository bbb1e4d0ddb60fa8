"""Resources of a sweep's runs: devices, cores, time, and how many runs share a process or job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

JOBS = "jobs"  # in the sweep's folder: logs of the processes and SLURM jobs that run cells


@dataclass(frozen=True)
class Resources:
    """What each run of a sweep gets, and how runs share processes.

    Attributes:
        at_once: runs at a time; None for as many as there is room for.
        gpus: per run; None for one each where this machine has any. On SLURM, None asks for none.
        cpus: cores per run, and its threads.
        time: minutes per SLURM job; a job that needs more is requeued and goes on.
        slurm: further sbatch options by their long names.
        cells_per_process: runs that share one Python; 1 gives each its own.
        cells_per_job: runs one after the other in a SLURM job; None for as few as keep an array short.
        models_at_once: runs trained together as one network, if they differ in seeds, splits and numbers only; None
            for as many as make training faster. Used on this machine only.
    """

    at_once: int | None = None
    gpus: int | None = None
    cpus: int = 1
    time: int = 240
    partition: str | None = None
    slurm: dict[str, Any] = field(default_factory=dict)
    cells_per_process: int = 500
    cells_per_job: int | None = None
    models_at_once: int | None = 1
