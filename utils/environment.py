"""Where a run was computed: versions, machine and commit."""

from __future__ import annotations

import functools
import platform
import subprocess
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """Versions, machine and commit, for ``environment.json`` and ``result.json``, as plain data."""
    import numpy
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "cpu_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_initialized() else None,
        "commit": _commit(),
    }


@functools.cache
def _commit() -> str | None:
    """The commit of the project, with "-dirty" for changed files; None without git.

    It is cached, because a later checkout does not change the code that this process has imported.
    """
    try:
        project = Path(__file__).resolve().parent.parent
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, timeout=5)
        status = ["git", "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.run(status, cwd=project, capture_output=True, text=True, timeout=5)
        return done.stdout.strip() + ("-dirty" if changed.stdout.strip() else "") if done.stdout.strip() else None
    except (OSError, subprocess.TimeoutExpired):
        return None
