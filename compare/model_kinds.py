"""Which kind of models is to be compared: classifiers, or generators. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from report import runs
from utils.errors import UsageError

GENERATING = "main_generate.py"
ENTRIES = {"classifiers": "compare.entries", "generators": "compare.scored_entries"}
PAGES = {"classifiers": "compare.classifier_page", "generators": "compare.generator_page"}
FILES = (".tar", ".pt", ".pth")  # ends of the names of checkpoints


def folder_of(place: str | Path) -> Path:
    """The folder of a run that is named by it or by a checkpoint in it."""
    path = Path(place).expanduser()
    return path.parent if path.suffix in FILES else path


def of(places: Sequence[str]) -> str:
    """ "classifiers" or "generators"; what is no run is refused later.

    Raises:
        UsageError: there are both.
    """
    scripts = {place: runs.read(folder_of(place) / "result.json").get("script") for place in places}
    generators = [place for place, script in scripts.items() if script == GENERATING]
    others = [place for place, script in scripts.items() if script not in (GENERATING, None)]
    if generators and others:
        difference = f"is of {GENERATING}, {others[0]} of {scripts[others[0]]}"
        raise UsageError(f"{generators[0]}: {difference}; compare generators with generators, and classifiers apart")
    return "generators" if generators else "classifiers"
