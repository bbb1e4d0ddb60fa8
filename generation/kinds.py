"""Tells which back end a generator on disk belongs to. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from utils import files
from utils.errors import UsageError

INDEX = "model_index.json"  # in the folder of a diffusers pipeline: its class and parts
PIPELINES = {"DiTPipeline": "dit", "StableDiffusionPipeline": "sd"}  # back ends by the pipeline's class
MODULES = {"ddpm": "generation.saved", "dit": "generation.transformer", "sd": "generation.stable"}


def of(path: str, flag: str = "--model") -> str:
    """The back end of a generator: "ddpm" for a file, "dit" or "sd" for the folder of a diffusers pipeline.

    Args:
        path: the generator; a path that does not exist counts as a file.
        flag: the flag that names it, for error messages.
    Raises:
        UsageError: it is a folder of no known pipeline.
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
