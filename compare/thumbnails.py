"""Many small images in one picture, a sheet of equal tiles."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from dataset.images import Images
from evaluation.predict import at_once

SIDE = 32  # most pixels of the side of a data set image's tile
# sides of tiles and WebP's quality, tried in this order until the sheet is small enough
TRIED = ((64, 80), (64, 50), (32, 70), (32, 40), (32, 15), (24, 30), (16, 40), (8, 40))


@dataclass(frozen=True, eq=False)
class Sheet:
    """A picture of tiles in rows.

    Attributes:
        content: the bytes of a WebP picture.
        side: of a tile, in pixels.
        columns: tiles in a row.
    """

    content: bytes
    side: int
    columns: int


def sheet(sets: Mapping[str, Images], rows: np.ndarray, most: int) -> Sheet:
    """A sheet with a tile for each of some images, in their order.

    Args:
        sets: images by set.
        rows: the images, int64 [P] ascending, at least one, counted over all sets in their order.
        most: bytes that the sheet should not exceed; quality is reduced until it fits, as far as ``TRIED`` goes.
    """
    return fitting(np.concatenate([_tiles(images, here) for images, here in _by_set(sets, rows)]), most)


def fitting(tiles: np.ndarray, most: int) -> Sheet:
    """Tiles as one picture, of lower quality until it has at most ``most`` bytes, as far as ``TRIED`` goes.

    Args:
        tiles: uint8 [P, side, side, 3].
    """
    own = tiles.shape[1]
    tried = [(min(side, own), quality) for side, quality in TRIED if side <= SIDE or own > SIDE]
    for side, quality in dict.fromkeys(tried):
        made = _sheet(_smaller(tiles, side), quality)
        if len(made.content) <= most:
            break
    return made


def _smaller(tiles: np.ndarray, side: int) -> np.ndarray:
    if tiles.shape[1] <= side:
        return tiles
    images = torch.from_numpy(tiles).permute(0, 3, 1, 2).float()
    return F.interpolate(images, (side, side), mode="area").round().byte().permute(0, 2, 3, 1).numpy()


def _sheet(tiles: np.ndarray, quality: int) -> Sheet:
    side, columns = tiles.shape[1], math.isqrt(len(tiles) - 1) + 1
    lines = math.ceil(len(tiles) / columns)
    grid = np.zeros((lines * columns, side, side, 3), np.uint8)
    grid[: len(tiles)] = tiles
    whole = grid.reshape(lines, columns, side, side, 3).swapaxes(1, 2).reshape(lines * side, columns * side, 3)
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "WEBP", quality=quality, method=1)
    return Sheet(buffer.getvalue(), side, columns)


def _by_set(sets: Mapping[str, Images], rows: np.ndarray) -> list[tuple[Images, np.ndarray]]:
    """The sets that hold some of the rows, each with their places in it."""
    members, start = [], 0
    for images in sets.values():
        here = rows[(rows >= start) & (rows < start + len(images))] - start
        if len(here):
            members.append((images, here))
        start += len(images)
    return members


def _tiles(images: Images, places: np.ndarray) -> np.ndarray:
    """The images at these places as tiles, uint8 [P, side, side, 3] with a side of at most ``SIDE``."""
    chosen = images.at(images.indices[torch.from_numpy(places).to(images.device)])
    tiles = []
    for batch, _ in chosen.batches(at_once(chosen)):
        side = min(SIDE, batch.shape[-1])
        small = F.interpolate(batch, (side, side), mode="area")
        tiles.append((small * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(tiles)
