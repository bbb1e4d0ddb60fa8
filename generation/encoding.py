"""The stages of ``main_generate.py encode``, which makes the latents of a data set once, for ``--dataset latents``."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dataset.images import Images
from dataset.named import latents
from generation.codec import Latents
from generation.generation_flags import GenerateArguments
from generation.generator_setup import GeneratorProblem, GeneratorSetup, facts, header, preview, read, set_up
from trainer import problem as problems
from trainer.pipeline import Place, Stages
from utils import files
from utils.log import Log
from utils.result import Result

PART = 4096  # images whose latents are written at a time
PARTS_FOLDER = "parts"


def set_up_encoding(arguments: GenerateArguments) -> GeneratorSetup:
    """Check everything that can be checked without reading an image."""
    outputs = [latents.FACTS, *(f"{part}{end}.npy" for part in latents.PARTS for end in ("", "_labels"))]
    outputs.append(PARTS_FOLDER)
    return set_up(arguments, label="latents", title="make latents of a data set", outputs=outputs)


def encode(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Write the latents of all training and test images, in the data set's order.

    They are written in parts, so that a run that was killed goes on after the last complete part.
    """
    began, data, codec = time.perf_counter(), problem.data, setup.generator.codec().to(setup.device)
    seen, folder = problems.views(setup, data), place.folder.path
    assert isinstance(codec, Latents)
    sets = {"train": seen.train(np.arange(len(data.train_labels))), "test": seen.test()}
    for name, images in sets.items():
        parts = _encode_parts(images, setup.arguments.settings.batch_size, codec, folder / PARTS_FOLDER / name)
        files.write_pieces(folder / f"{name}.npy", _joined(parts))
        files.write_bytes(folder / f"{name}_labels.npy", _npy(images.labels.cpu().numpy()))
    stamp = {"classes": list(data.classes), "side": setup.dataset.side, "vae": setup.generator.sha256}
    setup.generator.write(folder, problem.model, None, stamp | {"dataset": data.name})
    shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)
    counted = {"latents": sum(len(images) for images in sets.values())}
    return replace(known, seconds={"encoding": time.perf_counter() - began}, measured=counted)


def _encode_parts(images: Images, size: int, codec: Latents, folder: Path) -> list[Path]:
    """Write the missing parts of a set's latents; paths of all parts, each float32 [``PART`` or fewer, H, W, 2 * C]."""
    files.make_folder(folder)
    paths = []
    for number, positions in enumerate(np.split(np.arange(len(images)), range(PART, len(images), PART))):
        path = folder / f"{number:06d}.npy"
        if not path.exists():
            files.write_bytes(path, _npy(np.concatenate(list(_moments(images.at(positions), size, codec)))))
        paths.append(path)
    return paths


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _joined(paths: list[Path]) -> Iterator[bytes]:
    """The bytes of one .npy file that holds the arrays of several, concatenated."""
    shapes = [np.load(path, mmap_mode="r").shape for path in paths]
    described = {"descr": "<f4", "fortran_order": False, "shape": (sum(shape[0] for shape in shapes), *shapes[0][1:])}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, described)
    yield header.getvalue()
    for path in paths:
        yield np.load(path).tobytes()


def _moments(images: Images, size: int, codec: Latents) -> Iterator[np.ndarray]:
    """Mean and standard deviation of images' latents, batch by batch, float32 [B, H, W, 2 * C]."""
    for pixels, _ in images.batches(size):
        yield codec.moments(pixels).permute(0, 2, 3, 1).cpu().numpy()


def show(setup: GeneratorSetup, result: dict[str, Any], log: Log) -> None:
    """Print the number of latents, the seconds, and the flags that read them."""
    seconds = result["seconds"]["encoding"]
    log.line(f"{result['latents']:,} latents in {seconds:.1f} s; --dataset latents --data {setup.folder} reads them")


STAGES = Stages(set_up_encoding, preview, read, header, facts, encode, show)
