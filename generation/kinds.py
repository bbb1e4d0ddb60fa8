"""Which back end a generator on disk belongs to, told from its name alone. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from utils import files
from utils.errors import UsageError

INDEX = "model_index.json"  # names the parts of a pipeline of diffusers
PIPELINES = {"DiTPipeline": "dit", "StableDiffusionPipeline": "sd"}  # by the name of their class
MODULES = {"ddpm": "generation.saved", "dit": "generation.transformer", "sd": "generation.stable"}


def of(path: str, flag: str = "--model") -> str:
    """ "ddpm" for a file, "dit" or "sd" for a folder of diffusers.

    Raises:
        UsageError: a folder of no known pipeline.
    """
    place, flag = Path(path), f"{flag} {path}"
    if not os.path.isdir(path):
        return "ddpm"
    if not (place / INDEX).is_file():
        inside = f"; give {place / 'generator'}" if (place / "generator" / INDEX).is_file() else ""
        raise UsageError(f"{flag}: is a folder without {INDEX}, so no pipeline of diffusers{inside}")
    name = files.read_json(place / INDEX, f"{flag}: {INDEX}").get("_class_name")
    if name not in PIPELINES:
        raise UsageError(f"{flag}: is a {name}; known: {', '.join(PIPELINES)}")
    return PIPELINES[name]
