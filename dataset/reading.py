"""Decode image files, in this process or in several."""

from __future__ import annotations

import os
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset

from dataset.images import spans
from utils import files
from utils.errors import UsageError

# Pillow's names of the formats of files with ``positions.SUFFIXES``, and GIF, which such a file can hold too
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP", "TIFF", "GIF")
PARALLEL = 64 << 20  # bytes of pixels above which decoding in several processes is worth starting them


def open_image(path: bytes) -> Image.Image:
    """An image file in RGB.

    The content decides the format, not the name. Of several frames the first is read, as torchvision does. Only
    ``FORMATS`` are accepted, because decoders of others start programs or are old. 16-bit grey becomes 8-bit.

    Raises:
        UsageError: names a file that is no readable image, has more pixels than Pillow's ``MAX_IMAGE_PIXELS``, or has
            floats or 32-bit integers as pixels.
    """
    name = os.fsdecode(path)
    files.size_of(Path(name), f"--data: {name}", "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd but harmless metadata
            with Image.open(name, formats=FORMATS) as image:
                return _rgb(image)
    except Exception as error:  # noqa: BLE001  (a damaged file can raise anything in a decoder)
        raise UsageError(f"--data: {name} is not a readable image ({error})") from error


def _rgb(image: Image.Image) -> Image.Image:
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise ValueError(f"{image.width}x{image.height} pixels are too many")
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        kind = "floats" if image.mode == "F" else "32-bit integers"
        raise ValueError(f"its pixels are {kind}, not brightness from 0 to 255")
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip
        image = image.point(lambda level: level / 257).convert("L")
    return image.convert("RGB")


@dataclass(frozen=True)
class Reader(Dataset, ABC):
    """Image files as a torch data set whose items are the pixels of several images; subclasses implement ``pixels``.

    Attributes:
        paths: files of the images, bytes [N].
    """

    paths: np.ndarray

    @abstractmethod
    def pixels(self, position: int) -> np.ndarray:
        """The image at ``position``, uint8 [H, W, 3], all of one shape; UsageError if it cannot be read."""

    def __getitem__(self, positions: range) -> Tensor | str:
        """The images at ``positions``, uint8 [B, H, W, 3], or the text of the error for one that cannot be read.

        It is returned as text because an exception would leave a worker process wrapped in its traceback.
        """
        try:
            return torch.from_numpy(np.stack([self.pixels(position) for position in positions]))
        except UsageError as error:
            return str(error)


def in_chunks(
    reader: Reader, spans: Sequence[range], workers: int, ahead: int = 2, pinned: bool = False
) -> Iterator[Tensor]:
    """The pixels of every span of positions, uint8 [B, H, W, 3], in order.

    Args:
        spans: ranges of positions in ``reader``.
        workers: processes that read, limited to one per processor; 0 reads in this process.
        ahead: how many spans each process reads in advance.
        pinned: return pinned memory, from which a GPU copies without waiting.
    Raises:
        UsageError: names a file that cannot be read.
    """
    workers = max(min(workers, cores(), len(spans) - 1), 0)
    if workers:
        Image.init()  # all formats, so that no worker imports any
    forked = "fork" if workers and sys.platform == "linux" else None  # other start methods import torch in every pass
    loader = DataLoader(
        reader,
        batch_size=None,
        sampler=spans,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        pin_memory=pinned,
        multiprocessing_context=forked,
        generator=torch.Generator(),  # its own, or it would draw from the run's
    )
    for chunk in loader:
        if isinstance(chunk, str):
            raise UsageError(chunk)
        yield chunk


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Whole(Reader):
    """Whole images, all of one size.

    Attributes:
        size: side in pixels to resize to; None keeps images as they are.
        shape: [H, W, C] that images must have after this; None accepts any, to learn the shape of the first.
    """

    size: int | None = None
    shape: tuple[int, ...] | None = None

    def pixels(self, position: int) -> np.ndarray:
        """The image, resized if a size is given."""
        image = open_image(self.paths[position])
        if self.size is not None and image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        array = np.asarray(image)
        if self.shape is not None and array.shape != self.shape:
            path, first = os.fsdecode(self.paths[position]), os.fsdecode(self.paths[0])
            raise UsageError(f"--data: {path} differs in size from {first}; give --input_size or --stream")
        return array


def decode(paths: np.ndarray, size: int | None) -> np.ndarray:
    """All images in memory, uint8 [N, H, W, 3].

    Args:
        paths: bytes [N], N > 0.
        size: side in pixels to resize to; None requires equal, square images.
    Raises:
        UsageError: names an image that is unreadable, not square, or of another size than the first.
    """
    first = Whole(paths, size).pixels(0).shape
    if first[0] != first[1]:
        hint = "give --input_size to make images square, or --stream"
        raise UsageError(f"--data: {os.fsdecode(paths[0])} is {first[1]}x{first[0]} pixels; {hint}")
    images = np.empty((len(paths), *first), dtype=np.uint8)
    pieces = spans(len(paths), 256)
    workers = cores() if images.nbytes > PARALLEL else 0
    for piece, chunk in zip(pieces, in_chunks(Whole(paths, size, first), pieces, workers)):
        images[piece.start : piece.stop] = chunk.numpy()
    return images


def resize(images: np.ndarray, size: int | None) -> np.ndarray:
    """Bilinear resize of uint8 [N, H, W, C] to ``size`` x ``size``; unchanged for None or that size."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    small = interpolate(planes, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy())
