"""The stages of ``main_generate.py sample``, which draws pictures of classes, or of prompts."""

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

PROMPTS = "prompts"  # the folder of the prompts' pictures
SHOWN = 10  # most prompts in the grid


def set_up_sampling(arguments: GenerateArguments) -> GeneratorSetup:
    """Check everything that can be checked without drawing."""
    outputs, settings = [PICTURES, GRID, FOLDER, PROMPTS], arguments.settings
    setup = set_up(arguments, label="samples", title="draw pictures", outputs=outputs)
    drawing.check(settings, setup)
    if arguments.counting is not None and arguments.counting.nudenet is not None:
        nudity.check()
    if settings.prompts_file is None:
        drawing.wanted(settings.classes_to_generate, setup.dataset.classes)
        return setup
    importlib.import_module("generation.prompted").check(setup, settings.prompts_file)
    return replace(setup, config=setup.config | {"prompts": files.sha256(Path(settings.prompts_file))})


def sample(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Draw and write pictures and a grid; with ``--nudenet``, count exposed body parts in them."""
    flags: Drawing = setup.arguments.settings
    began, settings, count = time.perf_counter(), drawing.way(flags, setup), flags.n_samples_per_class
    if flags.prompts_file is None:
        classes = drawing.wanted(flags.classes_to_generate, setup.dataset.classes)
        folder, seed = place.folder.path, setup.run.seed
        pictures = drawing.draw(problem.model, setup.schedule, classes, count, settings, seed, folder=folder)
        drawing.write_pictures(folder / PICTURES, pictures)
        drawing.write_grid(place.folder.path / GRID, pictures)
        total, drawn = len(pictures.labels), iter(pictures.images)
    else:
        total = _of_prompts(setup, problem, flags.prompts_file, place)
        drawn = _stored(place.folder.path / PROMPTS)
    measured: dict[str, Any] = {"pictures": total}
    seconds, counting = time.perf_counter() - began, setup.arguments.counting
    if counting is not None and counting.nudenet is not None:
        measured |= nudity.count(drawn, counting.nudenet, nudity.detector())
    return replace(known, seconds={"drawing": seconds}, measured=measured)


def _stored(folder: Path) -> Iterator[Tensor]:
    """The pictures of a folder in the order of their names, each uint8 [3, H, W]."""
    for path in sorted(folder.glob("*.png")):
        yield drawing.read_picture(path)


def _of_prompts(setup: GeneratorSetup, problem: GeneratorProblem, path: str, place: Place) -> int:
    """Draw pictures of the prompts in a file, and a grid; the number of pictures."""
    prompted, flags = importlib.import_module("generation.prompted"), setup.arguments.settings
    prompts, unread = prompted.check(setup, path), prompted.left_out(path)
    if unread:
        place.log.line(f"columns of {path} that nothing reads: {', '.join(unread)}")
    folder = place.folder.path / PROMPTS
    prompted.draw(setup, problem, prompts, drawing.way(flags, setup), folder)
    prompted.write_grid(place.folder.path / GRID, prompts[:SHOWN], flags.n_samples_per_class, folder)
    return len(prompts) * flags.n_samples_per_class


def show(setup: GeneratorSetup, result: dict[str, Any], log: Log) -> None:
    """Print the number of pictures, where they are, and what was counted in them."""
    place = setup.folder / (PICTURES if setup.arguments.settings.prompts_file is None else PROMPTS)
    log.line(f"{result['pictures']:,} pictures in {place}; a look at them: {setup.folder / GRID}")
    if "nudity" in result:
        seen = ", ".join(f"{label} {times}" for label, times in result["nudity"].items())
        log.line(f"exposed in {result['nude_pictures']:,} of them, at {result['nudity_threshold']:g} or more: {seen}")


STAGES = Stages(set_up_sampling, preview, read, header, facts, sample, show)
