"""Draws pictures with a generator, and writes them as arrays, as files and as a grid."""

from __future__ import annotations

import io
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from generation import fitting, folders, samplers
from generation.codec import Codec
from generation.generation_flags import Drawing
from generation.generator_setup import GeneratorSetup
from generation.schedule import Schedule, sequence
from utils import files, seeds
from utils.errors import UsageError

PICTURES, GRID, FOLDER = "samples.npz", "grid.png", "class_samples"
GRID_COLUMNS = 20  # most pictures of a class in a grid
GRID_PIXELS = 32  # pictures in a grid are enlarged by the largest whole factor that keeps their side within this
GLANCE = 20  # most sampling steps for the grid that shows a run's result
SEEN = {"ddpm": (None, 10), "dit": (5, 4), "sd": (5, 4)}  # number of classes in that grid (None: all), pictures of each


@dataclass(frozen=True)
class Way:
    """How pictures are drawn, from the flags ``generation_flags.Drawing``.

    Attributes:
        times: number of sampling times.
        eta: of "generalized": share of DDPM's noise; 0 is DDIM.
        guidance: strength of classifier-free guidance; 0 is none, -1 draws without classes.
        kind: one of ``samplers.OWN``.
        skip: where the times lie, "uniform" or "quad".
        at_once: pictures in a batch.
        codec: converts what is denoised to images.
        channels: number of channels, from the first, on which guidance acts; None for all of the noise.
        scheduler: a diffusers scheduler that is used instead of ``kind``; None for none.
    """

    times: int = 1000
    eta: float = 1.0
    guidance: float = 2.0
    kind: str = "generalized"
    skip: str = "uniform"
    at_once: int = 512
    codec: Codec = field(default_factory=Codec)
    channels: int | None = None
    scheduler: Any = None


@dataclass(frozen=True)
class Pictures:
    """Drawn pictures, on the CPU.

    Attributes:
        images: uint8 [N, C, H, W].
        labels: the classes that the generator was asked for, int64 [N].
    """

    images: Tensor
    labels: Tensor

    def of(self, label: int) -> Tensor:
        """The images of a class."""
        return self.images[self.labels == label]


def way(flags: Drawing, setup: GeneratorSetup) -> Way:
    """How to draw with the run's generator as the flags say.

    Raises:
        UsageError: as ``scheduler``.
    """
    settings = Way(
        flags.timesteps, flags.eta, flags.cond_scale, flags.sample_type, flags.skip_type, flags.sample_batch_size
    )
    return replace(settings, **_of_generator(setup), scheduler=scheduler(flags.sample_type, setup))


def glance(setup: GeneratorSetup) -> tuple[Way, list[int], int]:
    """How to draw the grid that shows a run's result, its classes (forgotten ones included), and pictures of each."""
    drawn = {"cond_scale": 0.5, "sample_batch_size": 512} | fitting.suited(setup.generator.kind).get("drawing", {})
    most, count = SEEN[setup.generator.kind]
    gone = [] if setup.scenario is None else list(setup.scenario.labels or ())
    classes = [*gone, *(label for label in range(setup.dataset.classes) if label not in gone)][:most]
    guidance, at_once = drawn["cond_scale"], drawn["sample_batch_size"]
    shown = Way(min(GLANCE, setup.schedule.steps), 0.0, guidance, at_once=at_once, **_of_generator(setup))
    return shown, sorted(classes), count


def _of_generator(setup: GeneratorSetup) -> dict[str, Any]:
    channels = setup.generator.guided_channels(setup.run.compat)
    return {"codec": setup.generator.codec().to(setup.device), "channels": channels}


def scheduler(name: str, setup: GeneratorSetup) -> Any:
    """The diffusers scheduler that ``--sample_type`` names; None for one of ``samplers.OWN``.

    Raises:
        UsageError: diffusers has none of this name, or it cannot use the generator's noise schedule.
    """
    if name in samplers.OWN:
        return None
    flag, generator = f"--sample_type {name}", setup.generator
    diffusers = folders.library(flag)
    if name == "pipeline":
        if generator.path is None or not generator.path.is_dir():
            raise UsageError(f"{flag}: --model is no pipeline's folder; known: {', '.join(samplers.OWN)}")
        return folders.scheduler(generator.path, f"--model {generator.path}")
    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if kind is None:
        raise UsageError(f"{flag}: unknown; known: {', '.join(samplers.OWN)}, pipeline, or a scheduler of diffusers")
    try:
        return kind(num_train_timesteps=generator.schedule.steps, trained_betas=generator.schedule.betas().numpy())
    except (TypeError, ValueError, ImportError, NotImplementedError) as error:
        raise UsageError(f"{flag}: cannot follow the generator's noise ({error})") from error


@torch.no_grad()
def draw(
    model: nn.Module,
    schedule: Schedule,
    classes: list[int],
    count: int,
    settings: Way,
    seed: int,
    *,
    folder: Path | None = None,
) -> Pictures:
    """Draw ``count`` pictures of each class.

    Every batch of pictures has a seed of its own. Random numbers are drawn on the CPU, so that they are the same on
    every device.

    Args:
        model: the network, called as ``Generator`` says; put into eval mode.
        schedule: the noise at every time.
        classes: numbers of the classes.
        settings: how to draw.
        folder: where to write each picture as ``class_samples/<class>/<number>.png``, batch by batch; None writes
            none. A batch whose files all exist is read instead of drawn.
    """
    model.eval()
    labels = torch.tensor(classes).repeat_interleave(count)
    numbers = torch.arange(count).repeat(len(classes))
    drawn = []
    for batch, (batch_labels, batch_numbers) in enumerate(
        zip(labels.split(settings.at_once), numbers.split(settings.at_once))
    ):
        paths = [] if folder is None else _paths(folder, batch_labels, batch_numbers)
        if paths and all(path.exists() for path in paths):
            drawn.append(torch.stack([read_picture(path) for path in paths]))
            continue
        images = _draw_batch(model, schedule, batch_labels, settings, seeds.generator(seed, "pictures", batch))
        for path, image in zip(paths, images):
            files.make_folder(path.parent)
            write_picture(path, image)
        drawn.append(images)
    return Pictures(torch.cat(drawn), labels)


def _draw_batch(model: nn.Module, schedule: Schedule, labels: Tensor, settings: Way, random: torch.Generator) -> Tensor:
    """A picture for each of the labels, uint8 [B, C, H, W] on the CPU."""
    device, shape = next(model.parameters()).device, cast(Any, model.noisy)
    start, classes = torch.randn(len(labels), *shape, generator=random).to(device), labels.to(device)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=random).to(device)

    def predict(noisy: Tensor, now: Tensor) -> Tensor:
        return samplers.guided(model, noisy, now, classes, settings.guidance, settings.channels)

    if settings.scheduler is None:
        times = sequence(settings.skip, settings.times, schedule.steps)
        steps = samplers.trajectory(settings.kind, predict, start, times, schedule, noise, settings.eta)
    else:
        steps = samplers.scheduled(settings.scheduler, predict, start, settings.times, random, settings.eta)
    [clean] = deque(steps, maxlen=1)
    return settings.codec.pixels(clean).cpu()


def _paths(folder: Path, labels: Tensor, numbers: Tensor) -> list[Path]:
    pairs = zip(labels.tolist(), numbers.tolist())
    return [folder / FOLDER / str(label) / f"{number:05d}.png" for label, number in pairs]


def read_picture(path: Path) -> Tensor:
    """Read a picture from an image file, uint8 [3, H, W]."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def write_picture(path: Path, picture: Tensor) -> None:
    """Write a picture, uint8 [3, H, W], as a PNG file."""
    files.write_bytes(path, png(Image.fromarray(picture.permute(1, 2, 0).numpy())))


def write_grid(path: Path, pictures: Pictures, beside: dict[str, Pictures] | None = None) -> None:
    """Write a PNG file with a row of pictures for each class.

    Args:
        beside: further pictures of the same classes and size, by name; they are put to the right in this order.
    """
    blocks = [_rows(each) for each in (pictures, *(beside or {}).values())]
    gap = np.full((blocks[0].shape[0], 4, 3), 128, np.uint8)
    parts = [part for block in blocks for part in (block, gap)][:-1]
    image = Image.fromarray(np.concatenate(parts, axis=1))
    enlarge = max(1, GRID_PIXELS // pictures.images.shape[-1])
    image = image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST)
    files.write_bytes(path, png(image))


def _rows(pictures: Pictures) -> np.ndarray:
    """One image with a row of pictures for each class, uint8 [H, W, 3]."""
    rows = [pictures.of(label)[:GRID_COLUMNS] for label in pictures.labels.unique().tolist()]
    return np.concatenate([np.concatenate(list(row.permute(0, 2, 3, 1).numpy()), axis=1) for row in rows])


def png(image: Any) -> bytes:
    """A PIL image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def write_pictures(path: Path, pictures: Pictures) -> None:
    """Write an ``.npz`` file with ``images``, uint8 [N, H, W, C], and ``labels``, int64 [N]."""
    buffer = io.BytesIO()
    arrays = pictures.images.permute(0, 2, 3, 1).numpy()
    np.savez_compressed(buffer, images=arrays, labels=pictures.labels.numpy())
    files.write_bytes(path, buffer.getvalue())


def wanted(text: str | None, classes: int) -> list[int]:
    """The classes that ``--classes_to_generate`` names, ascending.

    Args:
        text: "0,2" for these classes, "x0,x2" for all others; None for all.
        classes: number of classes.
    Raises:
        UsageError: a word names no class, both forms are mixed, or no class is left.
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
    chosen = [label for label in range(classes) if label not in listed] if all(out) else listed
    if not chosen:
        raise UsageError(f"--classes_to_generate {text}: leaves no class")
    return chosen


def check(flags: Drawing, setup: GeneratorSetup) -> None:
    """Refuse flags that the generator cannot follow.

    Raises:
        UsageError: ``--sample_type`` is unknown, or ``--timesteps`` is more than the generator has.
    """
    scheduler(flags.sample_type, setup)
    steps = setup.schedule.steps
    if flags.timesteps > steps:
        raise UsageError(f"--timesteps {flags.timesteps}: must be at most {steps}, the times of the generator")
