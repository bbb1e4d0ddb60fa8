"""Tells whether classifiers or generators are to be compared. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from report import runs
from utils.errors import UsageError

GENERATING = "main_generate.py"
ENTRIES = {"classifiers": "compare.entries", "generators": "compare.scored_entries"}
PAGES = {"classifiers": "compare.classifier_page", "generators": "compare.generator_page"}
FILES = (".tar", ".pt", ".pth")  # suffixes of checkpoints


def folder_of(place: str | Path) -> Path:
    """The folder of a run, given the folder itself or a checkpoint in it; ``~`` is expanded."""
    path = Path(place).expanduser()
    return path.parent if path.suffix in FILES else path


def of(places: Sequence[str]) -> str:
    """Whether the runs are of "classifiers" or "generators".

    Args:
        places: folders of runs, or checkpoints in them. Any that holds no run is refused later.
    Raises:
        UsageError: there are both kinds.
    """
    scripts = {place: runs.read(folder_of(place) / "result.json").get("script") for place in places}
    generators = [place for place, script in scripts.items() if script == GENERATING]
    others = [place for place, script in scripts.items() if script not in (GENERATING, None)]
    if generators and others:
        difference = f"is of {GENERATING}, {others[0]} of {scripts[others[0]]}"
        raise UsageError(f"{generators[0]}: {difference}; compare generators with generators, and classifiers apart")
    return "generators" if generators else "classifiers"
