"""Pictures of a generator, as arrays, as files and as a grid; the stages of ``main_generate.py sample``."""

from __future__ import annotations

import io
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generation import nudity, samplers
from generation.generation_flags import Drawing, GenerateArguments
from generation.generator_setup import GeneratorProblem, GeneratorSetup, facts, header, preview, read, set_up
from generation.schedule import Schedule, sequence
from generation.unet import ConditionalUNet
from trainer.pipeline import Place, Stages
from utils import files, seeds
from utils.errors import UsageError
from utils.log import Log
from utils.result import Result

PICTURES, GRID, FOLDER = "samples.npz", "grid.png", "class_samples"
GRID_COLUMNS = 20  # pictures of a class in a grid, at most
GRID_PIXELS = 32  # side of a picture in a grid, at least


@dataclass(frozen=True)
class Way:
    """How pictures are drawn; see ``generation_flags.Drawing``."""

    times: int = 1000
    eta: float = 1.0
    guidance: float = 2.0
    kind: str = "generalized"
    skip: str = "uniform"
    at_once: int = 512


@dataclass(frozen=True)
class Pictures:
    """Drawn pictures: uint8 [N, C, H, W] with the classes int64 [N] that they were asked for, on the CPU."""

    images: Tensor
    labels: Tensor

    def of(self, label: int) -> Tensor:
        """Those of a class."""
        return self.images[self.labels == label]


def way(flags: Drawing) -> Way:
    """The flags as a way to draw."""
    kind, skip = flags.sample_type, flags.skip_type
    return Way(flags.timesteps, flags.eta, flags.cond_scale, kind, skip, flags.sample_batch_size)


@torch.no_grad()
def draw(model: ConditionalUNet, schedule: Schedule, classes: list[int], count: int, how: Way, seed: int) -> Pictures:
    """``count`` pictures of each class.

    Every batch of pictures has its own seed; numbers are drawn on the CPU, so that every device gets the same.
    """
    model.eval()
    shape, device = model.shape, model.null_classes_emb.device
    labels = torch.tensor(classes).repeat_interleave(count)
    drawn, times = [], sequence(how.skip, how.times, schedule.steps)
    for number, wanted in enumerate(labels.split(how.at_once)):
        random, there = seeds.generator(seed, "pictures", number), wanted.to(device)
        start = torch.randn(len(wanted), shape.channels, shape.size, shape.size, generator=random)

        def noise(like: Tensor, random: torch.Generator = random) -> Tensor:
            return torch.randn(like.shape, generator=random).to(device)

        def predict(noisy: Tensor, now: Tensor, there: Tensor = there) -> Tensor:
            return samplers.guided(model, noisy, now, there, how.guidance)

        walk = samplers.trajectory(how.kind, predict, start.to(device), times, schedule, noise, how.eta)
        [clean] = deque(walk, maxlen=1)
        drawn.append(to_pixels(clean).cpu())
    return Pictures(torch.cat(drawn), labels)


def to_pixels(pictures: Tensor) -> Tensor:
    """Floats in [-1, 1] to uint8 [0, 255]; what lies outside is cut, and every picture has the same range."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def write_grid(path: Path, pictures: Pictures, beside: dict[str, Pictures] | None = None) -> None:
    """A row of pictures for each class.

    Args:
        beside: further pictures to the right, by name, in this order.
    """
    from PIL import Image

    blocks = [_rows(each) for each in (pictures, *(beside or {}).values())]
    gap = np.full((blocks[0].shape[0], 4, 3), 128, np.uint8)
    parts = [part for block in blocks for part in (block, gap)][:-1]
    image = Image.fromarray(np.concatenate(parts, axis=1))
    enlarge = max(1, GRID_PIXELS // pictures.images.shape[-1])
    image = image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST)
    files.write_bytes(path, png(image))


def _rows(pictures: Pictures) -> np.ndarray:
    """One row for each class, uint8 [H, W, 3]."""
    found = [pictures.of(label)[:GRID_COLUMNS] for label in pictures.labels.unique().tolist()]
    return np.concatenate([np.concatenate(list(row.permute(0, 2, 3, 1).numpy()), axis=1) for row in found])


def png(image: Any) -> bytes:
    """An image's bytes as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def write_pictures(folder: Path, pictures: Pictures) -> None:
    """``samples.npz`` with ``images``, uint8 [N, H, W, C], and ``labels``; the same as PNG files by class."""
    from PIL import Image

    buffer = io.BytesIO()
    arrays = pictures.images.permute(0, 2, 3, 1).numpy()
    np.savez_compressed(buffer, images=arrays, labels=pictures.labels.numpy())
    for label in pictures.labels.unique().tolist():
        place = folder / FOLDER / str(label)
        files.make_folder(place)
        for number, image in enumerate(arrays[pictures.labels.numpy() == label]):
            files.write_bytes(place / f"{number:05d}.png", png(Image.fromarray(image)))
    files.write_bytes(folder / PICTURES, buffer.getvalue())


def wanted(text: str | None, classes: int) -> list[int]:
    """The classes that ``--classes_to_generate`` names.

    Raises:
        UsageError: a word that is no class, or both ways mixed.
    """
    if text is None:
        return list(range(classes))
    words = text.split(",")
    out = [word.startswith("x") for word in words]
    numbers = [word.removeprefix("x") for word in words]
    if any(out) != all(out) or not all(word.isdecimal() and int(word) < classes for word in numbers):
        raise UsageError(
            f"--classes_to_generate {text}: must be classes 0 to {classes - 1}, or all with an x before them"
        )
    listed = sorted({int(word) for word in numbers})
    found = [label for label in range(classes) if label not in listed] if all(out) else listed
    if not found:
        raise UsageError(f"--classes_to_generate {text}: leaves no class")
    return found


def check(flags: Drawing, steps: int) -> None:
    """Refuse more times than there are.

    Raises:
        UsageError: says how many there are.
    """
    if flags.timesteps > steps:
        raise UsageError(f"--timesteps {flags.timesteps}: must be at most {steps}, the times of the generator")


def set_up_sampling(arguments: GenerateArguments) -> GeneratorSetup:
    """Refuse what can be refused without drawing."""
    outputs = [PICTURES, GRID, FOLDER]
    setup = set_up(arguments, label="samples", title="draw pictures", outputs=outputs)
    wanted(arguments.settings.classes_to_generate, setup.dataset.classes)
    check(arguments.settings, setup.schedule.steps)
    if arguments.counting is not None and arguments.counting.nudenet is not None:
        nudity.check()
    return setup


def sample(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Draw, and write pictures and a grid."""
    flags: Drawing = setup.arguments.settings
    began, classes = time.perf_counter(), wanted(flags.classes_to_generate, setup.dataset.classes)
    pictures = draw(problem.model, setup.schedule, classes, flags.n_samples_per_class, way(flags), setup.run.seed)
    write_pictures(place.folder.path, pictures)
    write_grid(place.folder.path / GRID, pictures)
    seconds, measured = time.perf_counter() - began, {"pictures": len(pictures.labels)}
    told = setup.arguments.counting
    if told is not None and told.nudenet is not None:
        measured |= nudity.count(pictures.images, told.nudenet, nudity.detector())
    return replace(known, seconds={"drawing": seconds}, measured=measured)


def show(setup: GeneratorSetup, result: dict[str, Any], log: Log) -> None:
    """Print where the pictures are."""
    log.line(f"{result['pictures']:,} pictures in {setup.folder / PICTURES}; a look at them: {setup.folder / GRID}")
    if "nudity" in result:
        seen = ", ".join(f"{label} {times}" for label, times in result["nudity"].items())
        log.line(f"exposed in {result['nude_pictures']:,} of them, at {result['nudity_threshold']:g} or more: {seen}")


STAGES = Stages(set_up_sampling, preview, read, header, facts, sample, show)
