"""Pictures of prompts from a file: what ``main_generate.py sample --prompts_file`` draws with Stable Diffusion."""

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
    """A line of the file: what its pictures are of, the name that they start with, and their seed."""

    text: str
    case: str
    seed: int


def read(path: str, seed: int) -> list[Prompt]:
    """The prompts of a CSV file.

    Args:
        seed: of the prompts of a file without seeds.
    Raises:
        UsageError: no such file, no column of prompts, a line that lacks one, or a number that is none.
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
    """The file's columns that nothing reads."""
    names = csv.DictReader(io.StringIO(files.read_text(Path(path), f"--prompts_file {path}"))).fieldnames or []
    return [name for name in names if name and name not in COLUMNS]


def check(setup: GeneratorSetup, path: str) -> list[Prompt]:
    """The prompts of a file, for a generator that reads them whole.

    Raises:
        UsageError: as ``read``; or the generator reads no prompts, or not so long ones.
    """
    generator = setup.generator
    if not isinstance(generator, stable.Stable):
        raise UsageError(f"--prompts_file {path}: --model reads no prompts; they are for Stable Diffusion")
    prompts = read(path, setup.run.seed)
    stable.check_length(generator.place, tuple(prompt.text for prompt in prompts))
    return prompts


def draw(setup: GeneratorSetup, problem: GeneratorProblem, prompts: list[Prompt], settings: Way, folder: Path) -> None:
    """Draw each prompt's pictures as ``<case_number>_<picture>.png`` in a folder; those a killed run left stay."""
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
    """The files of a prompt's pictures."""
    return [folder / f"{prompt.case}_{picture}.png" for picture in range(count)]


def write_grid(target: Path, prompts: list[Prompt], count: int, folder: Path) -> None:
    """A row for each of these prompts, whose pictures are in a folder."""
    images = []
    for prompt in prompts:
        for path in names(folder, prompt, count)[: drawing.GRID_COLUMNS]:
            images.append(drawing.read_picture(path))
    labels = torch.arange(len(prompts)).repeat_interleave(min(count, drawing.GRID_COLUMNS))
    drawing.write_grid(target, Pictures(torch.stack(images), labels))
