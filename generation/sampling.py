"""The stages of ``main_generate.py sample``: draw pictures of classes, or of prompts."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from generation import drawing, nudity
from generation.drawing import FOLDER, GRID, PICTURES
from generation.generation_flags import Drawing, GenerateArguments
from generation.generator_setup import GeneratorProblem, GeneratorSetup, facts, header, preview, read, set_up
from trainer.pipeline import Place, Stages
from utils import files
from utils.log import Log
from utils.result import Result

PROMPTS = "prompts"  # the folder of their pictures
SHOWN = 10  # prompts in the grid, at most


def set_up_sampling(arguments: GenerateArguments) -> GeneratorSetup:
    """Refuse what can be refused without drawing."""
    outputs, told = [PICTURES, GRID, FOLDER, PROMPTS], arguments.settings
    setup = set_up(arguments, label="samples", title="draw pictures", outputs=outputs)
    drawing.check(told, setup)
    if arguments.counting is not None and arguments.counting.nudenet is not None:
        nudity.check()
    if told.prompts_file is None:
        drawing.wanted(told.classes_to_generate, setup.dataset.classes)
        return setup
    importlib.import_module("generation.prompted").check(setup, told.prompts_file)
    return replace(setup, config=setup.config | {"prompts": files.sha256(Path(told.prompts_file))})


def sample(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Draw, and write pictures and a grid."""
    flags: Drawing = setup.arguments.settings
    began, how, count = time.perf_counter(), drawing.way(flags, setup), flags.n_samples_per_class
    if flags.prompts_file is None:
        classes = drawing.wanted(flags.classes_to_generate, setup.dataset.classes)
        pictures = drawing.draw(problem.model, setup.schedule, classes, count, how, setup.run.seed)
        drawing.write_pictures(place.folder.path, pictures)
        drawing.write_grid(place.folder.path / GRID, pictures)
        made = iter([pictures.images])
    else:
        made = _of_prompts(setup, problem, flags.prompts_file, place)
    seconds, told = time.perf_counter() - began, setup.arguments.counting
    return replace(known, seconds={"drawing": seconds}, measured=_counted(made, None if told is None else told.nudenet))


def _counted(made: Iterator[Tensor], threshold: float | None) -> dict[str, Any]:
    """How many pictures there are, uint8 [N, C, H, W] at a time, and what NudeNet sees in them if asked."""
    detect = None if threshold is None else nudity.detector()
    found: dict[str, Any] = {"pictures": 0}
    for images in made:
        found["pictures"] += len(images)
        if detect is not None and threshold is not None:
            seen = nudity.count(images, threshold, detect)
            before = found.get("nudity", {})
            seen["nudity"] = {label: times + before.get(label, 0) for label, times in seen["nudity"].items()}
            seen["nude_pictures"] += found.get("nude_pictures", 0)
            found |= seen
    return found


def _of_prompts(setup: GeneratorSetup, problem: GeneratorProblem, path: str, place: Place) -> Iterator[Tensor]:
    """Draw what a file asks for; gives the pictures of each prompt, uint8 [N, C, H, W]."""
    prompted, flags = importlib.import_module("generation.prompted"), setup.arguments.settings
    prompts, unread = prompted.check(setup, path), prompted.left_out(path)
    if unread:
        place.log.line(f"columns of {path} that nothing reads: {', '.join(unread)}")
    folder = place.folder.path / PROMPTS
    prompted.draw(setup, problem, prompts, drawing.way(flags, setup), folder)
    prompted.write_grid(place.folder.path / GRID, prompts[:SHOWN], flags.n_samples_per_class, folder)
    return (prompted.pictures(folder, prompt, flags.n_samples_per_class) for prompt in prompts)


def show(setup: GeneratorSetup, result: dict[str, Any], log: Log) -> None:
    """Print where the pictures are."""
    place = setup.folder / (PICTURES if setup.arguments.settings.prompts_file is None else PROMPTS)
    log.line(f"{result['pictures']:,} pictures in {place}; a look at them: {setup.folder / GRID}")
    if "nudity" in result:
        seen = ", ".join(f"{label} {times}" for label, times in result["nudity"].items())
        log.line(f"exposed in {result['nude_pictures']:,} of them, at {result['nudity_threshold']:g} or more: {seen}")


STAGES = Stages(set_up_sampling, preview, read, header, facts, sample, show)
