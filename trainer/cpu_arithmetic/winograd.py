"""Convolutions of 3 x 3 by Winograd's minimal filtering.

Four by four outputs take 36 products per pair of channels instead of 144. oneDNN, which torch calls on the CPU, no
longer has this algorithm for float32. cuDNN has its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHANNELS = 128  # with fewer, transforming tiles takes as long as the products that are saved
TILES = 32  # with fewer, transforming the weights takes as long
AT_ONCE = 2**17  # tiles times channels that are transformed at a time: 19 MB of numbers
FEW = 64  # images in a batch; with more, the backward pass computes transforms again, which saves much memory
IN, OUT = 6, 4  # pixels along a tile's side, in the input and in the output

# Lavin & Gray 2016, section 4.3: tile of the input, filter, and tile of the output, along one side.
OF_INPUT: tuple[tuple[float, ...], ...] = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0))
OF_INPUT += ((0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))
OF_FILTER: tuple[tuple[float, ...], ...] = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6))
OF_FILTER += ((1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))
OF_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution with stride 1 and a padding of one zero.

    Its rounding error is four to ten times that of a direct sum: 4e-6 of the output at 512 channels.

    Args:
        x: float32 [B, C, H, W], best in channels-last layout.
        weight: float32 [O, C, 3, 3].
        bias: float32 [O], or None.
    Returns:
        float32 [B, O, H, W] in channels-last layout.
    Source: Lavin & Gray 2016, F(4 x 4, 3 x 3).
    """
    y = _Winograd.apply(x, weight)
    return y if bias is None else y + bias.view(1, -1, 1, 1)


class _Winograd(torch.autograd.Function):
    """``conv2d`` without bias.

    Beside input and weight, which exist anyway, transforms are kept for the backward pass only if the images are few.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        filters = _filters(weight)
        y = torch.empty(len(x), len(weight), *x.shape[2:], memory_format=torch.channels_last)
        for part in _parts(x):
            pixels = _pixels(x[part])
            _write(torch.bmm(pixels, filters), y[part])
        ctx.save_for_backward(x, weight, *((pixels, filters) if len(x) <= FEW else ()))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight, *saved = ctx.saved_tensors
        by_x = by_weight = by_filters = None
        if ctx.needs_input_grad[0]:
            by_x = torch.empty_like(x, memory_format=torch.channels_last)
            filters = saved[1] if saved else _filters(weight)
        if ctx.needs_input_grad[1]:
            by_filters = weight.new_empty(IN * IN, *weight.shape[1::-1])
        for part in _parts(x):
            products = _products(gradient[part])
            if by_x is not None:
                by_x[part] = _to_pixels(torch.bmm(products, filters.transpose(1, 2)), x[part].shape)
            if by_filters is not None:
                pixels = saved[0] if saved else _pixels(x[part])
                by_filters.baddbmm_(pixels.transpose(1, 2), products, beta=0 if part.start == 0 else 1)
        if by_filters is not None:
            squares = _both_ways(OF_FILTER).T @ by_filters.view(IN * IN, -1)
            by_weight = squares.view(3, 3, *weight.shape[1::-1]).permute(3, 2, 0, 1)
        return by_x, by_weight


def _parts(x: Tensor) -> list[slice]:
    """Slices of the images that are transformed at a time; a single slice if the images are few."""
    channels, height, width = x.shape[1:]
    images = max(FEW, AT_ONCE // (channels * math.ceil(height / OUT) * math.ceil(width / OUT)))
    return [slice(start, start + images) for start in range(0, len(x), images)]


def _pixels(x: Tensor) -> Tensor:
    """Tiles of the input, transformed: [36, tiles of all images, C]."""
    count, channels, height, width = x.shape
    down, across = _overlaps(height), _overlaps(width)
    half = (down @ x.permute(0, 2, 3, 1).reshape(count, height, -1)).view(-1, width, channels)
    tiles = (across @ half).view(count, len(down) // IN, IN, len(across) // IN, IN, channels)
    return tiles.permute(2, 4, 0, 1, 3, 5).reshape(IN * IN, -1, channels)


def _to_pixels(tiles: Tensor, shape: Sequence[int]) -> Tensor:
    """The transpose of ``_pixels``: the gradient of an input of this shape from the gradients of its tiles."""
    count, channels, height, width = shape
    down, across = _overlaps(height), _overlaps(width)
    tiles = tiles.view(IN, IN, count, len(down) // IN, len(across) // IN, channels).permute(2, 3, 0, 4, 1, 5)
    half = across.T @ tiles.reshape(count * len(down), len(across), channels)
    return (down.T @ half.view(count, len(down), -1)).view(count, height, width, channels).permute(0, 3, 1, 2)


def _filters(weight: Tensor) -> Tensor:
    """Filters, transformed: [36, C, O]."""
    outputs, channels = weight.shape[:2]
    return (_both_ways(OF_FILTER) @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(IN * IN, channels, outputs)


def _write(products: Tensor, y: Tensor) -> None:
    """Fill the output ``y``, [B, O, H, W] in channels-last layout, from products [36, tiles of all images, O]."""
    count, outputs, height, width = y.shape
    rows, columns = math.ceil(height / OUT), math.ceil(width / OUT)
    squares = _both_ways(OF_OUTPUT) @ products.view(IN * IN, -1)
    squares = squares.view(OUT, OUT, count, rows, columns, outputs).permute(2, 3, 0, 4, 1, 5)
    full = y.permute(0, 2, 3, 1)
    if height % OUT or width % OUT:
        full.copy_(squares.reshape(count, rows * OUT, columns * OUT, outputs)[:, :height, :width])
    else:
        full.view(squares.shape).copy_(squares)


def _products(gradient: Tensor) -> Tensor:
    """The transpose of ``_write``: [36, tiles of all images, O] from the output's gradient."""
    count, outputs, height, width = gradient.shape
    rows, columns = math.ceil(height / OUT), math.ceil(width / OUT)
    full = gradient.permute(0, 2, 3, 1)
    if height % OUT or width % OUT:
        full = F.pad(full, (0, 0, 0, columns * OUT - width, 0, rows * OUT - height))
    squares = full.reshape(count, rows, OUT, columns, OUT, outputs).permute(2, 4, 0, 1, 3, 5)
    return (_both_ways(OF_OUTPUT).T @ squares.reshape(OUT * OUT, -1)).view(IN * IN, -1, outputs)


def pays(x: Tensor, weight: Tensor, least: int = TILES) -> bool:
    """Whether ``conv2d`` here is faster: many channels, many and mostly full tiles, and short sides.

    Sides must be short in comparison with the channels because transforms multiply by matrices as wide as a side.

    Args:
        least: least number of tiles in all images.
    """
    height, width = x.shape[2:]
    tiles = math.ceil(height / OUT) * math.ceil(width / OUT)
    halved = 9 * height * width >= 2 * IN * IN * tiles
    return halved and len(x) * tiles >= least and min(weight.shape[:2]) >= max(CHANNELS, 8 * max(height, width))


@functools.cache
@torch.inference_mode(False)  # the first call may be in inference mode, whose tensors autograd could not use later
def _overlaps(size: int) -> Tensor:
    """Matrix from ``size`` pixels in a line to the transforms of the overlapping tiles on it, one after the other."""
    tiles = math.ceil(size / OUT)
    overlaps = torch.zeros(tiles * IN, tiles * OUT + 2)
    for tile in range(tiles):
        overlaps[tile * IN : (tile + 1) * IN, tile * OUT : tile * OUT + IN] = torch.tensor(OF_INPUT)
    return overlaps[:, 1 : size + 1].contiguous()


@functools.cache
@torch.inference_mode(False)
def _both_ways(side: tuple[tuple[float, ...], ...]) -> Tensor:
    """Matrix that applies a transform along both sides of a square, which is flattened row by row."""
    along = torch.tensor(side, dtype=torch.float32)
    return torch.kron(along, along)
