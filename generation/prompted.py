"""Draws pictures of the prompts in a file with Stable Diffusion, for ``main_generate.py sample --prompts_file``."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import torch

from generation import drawing, stable
from generation.drawing import Pictures, Way
from generation.generator_setup import GeneratorProblem, GeneratorSetup
from utils import files
from utils.errors import UsageError

COLUMNS = ("prompt", "case_number", "evaluation_seed")


@dataclass(frozen=True)
class Prompt:
    """A line of the file.

    Attributes:
        text: the prompt.
        case: the number with which the names of its pictures begin.
        seed: of its pictures.
    """

    text: str
    case: str
    seed: int


def read(path: str, seed: int) -> list[Prompt]:
    """The prompts in a CSV file with the column prompt, and maybe case_number and evaluation_seed.

    Args:
        seed: of prompts for which the file gives none.
    Raises:
        UsageError: the file is missing, has no prompts, a line lacks one, or a number is wrong or given twice.
    """
    flag = f"--prompts_file {path}"
    rows = list(csv.DictReader(io.StringIO(files.read_text(Path(path), flag))))
    prompts = []
    for number, row in enumerate(rows):
        text, case = row.get("prompt"), (row.get("case_number") or str(number)).strip()
        drawn = (row.get("evaluation_seed") or str(seed)).strip()
        if not text or not text.strip():
            raise UsageError(f"{flag}: line {number + 2} has no prompt; a column prompt is needed")
        if not drawn.isdecimal() or not case.isdecimal():
            raise UsageError(f"{flag}: line {number + 2}: case_number and evaluation_seed must be whole numbers")
        prompts.append(Prompt(text, case, int(drawn)))
    if not prompts:
        raise UsageError(f"{flag}: holds no prompts")
    if len({prompt.case for prompt in prompts}) < len(prompts):
        raise UsageError(f"{flag}: has a case_number twice, by which pictures are named")
    return prompts


def left_out(path: str) -> list[str]:
    """Names of the file's columns that are not read."""
    names = csv.DictReader(io.StringIO(files.read_text(Path(path), f"--prompts_file {path}"))).fieldnames or []
    return [name for name in names if name and name not in COLUMNS]


def check(setup: GeneratorSetup, path: str) -> list[Prompt]:
    """Read the prompts of a file, and check that the run's generator can use them.

    Raises:
        UsageError: as ``read``; or the generator takes no prompts, or a prompt is too long for its text encoder.
    """
    generator = setup.generator
    if not isinstance(generator, stable.Stable):
        raise UsageError(f"--prompts_file {path}: --model reads no prompts; they are for Stable Diffusion")
    prompts = read(path, setup.run.seed)
    stable.check_length(generator.place, tuple(prompt.text for prompt in prompts))
    return prompts


def draw(setup: GeneratorSetup, problem: GeneratorProblem, prompts: list[Prompt], settings: Way, folder: Path) -> None:
    """Draw each prompt's pictures as ``<case_number>_<picture>.png`` in a folder.

    Prompts whose pictures all exist, because a killed run drew them, are skipped.
    """
    files.make_folder(folder)
    generator, model, count = setup.generator, problem.model, setup.arguments.settings.n_samples_per_class
    assert isinstance(generator, stable.Stable) and isinstance(model, stable.TextUNet)
    for prompt in prompts:
        paths = names(folder, prompt, count)
        if all(path.exists() for path in paths):
            continue
        model.tell(stable.encoded(generator.place, (prompt.text, stable.NOTHING)), model.side)
        pictures = drawing.draw(model, setup.schedule, [0], count, settings, prompt.seed)
        for path, image in zip(paths, pictures.images):
            drawing.write_picture(path, image)


def names(folder: Path, prompt: Prompt, count: int) -> list[Path]:
    """The paths of a prompt's ``count`` pictures in a folder."""
    return [folder / f"{prompt.case}_{picture}.png" for picture in range(count)]


def write_grid(target: Path, prompts: list[Prompt], count: int, folder: Path) -> None:
    """Write a PNG file with a row of pictures for each prompt.

    Args:
        count: pictures of each prompt.
        folder: that holds them.
    """
    images = []
    for prompt in prompts:
        for path in names(folder, prompt, count)[: drawing.GRID_COLUMNS]:
            images.append(drawing.read_picture(path))
    labels = torch.arange(len(prompts)).repeat_interleave(min(count, drawing.GRID_COLUMNS))
    drawing.write_grid(target, Pictures(torch.stack(images), labels))
