"""Convolutions of 3 x 3 whose outputs are so small that many of the nine taps meet only the zero padding.

For an output of 2 x 2 pixels, 16 of the 36 products per pair of channels meet a pixel, and for 1 x 1 one of nine does.
oneDNN, which torch calls on the CPU, computes all of them, and without AVX-512 takes several times as long per product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHANNELS = 128  # with fewer, nine small matrix products take as long as torch's algorithm
SIDE = 3  # pixels along a side of the output; with more, most taps meet pixels


def pays(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Whether ``conv2d`` here is faster for ``x``, float32 [B, C, H, W]: many channels and a small output."""
    sides = (_outputs(size, stride) for size in x.shape[2:])
    return max(sides) <= SIDE and min(weight.shape[:2]) >= CHANNELS


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """Convolution with a padding of one zero, by one matrix product for each tap that meets a pixel.

    Args:
        x: float32 [B, C, H, W], best in channels-last layout.
        weight: float32 [O, C, 3, 3], best in channels-last layout.
        bias: float32 [O], or None.
        stride: the same down and across.
    Returns:
        float32 [B, O, ceil(H / stride), ceil(W / stride)] in channels-last layout.
    """
    y = _Taps.apply(x, weight, stride)
    return y if bias is None else y + bias.view(1, -1, 1, 1)


class _Taps(torch.autograd.Function):
    """``conv2d`` without bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        size = [len(x), len(weight), *(_outputs(side, stride) for side in x.shape[2:])]
        y = torch.empty(size, memory_format=torch.channels_last).zero_()
        pixels, outputs, filters = (tensor.permute(0, 2, 3, 1) for tensor in (x, y, weight))
        for tap, to, of in _taps(x, stride):
            met = pixels[of]
            outputs[to] += (met.flatten(0, 2) @ filters[tap].T).view(*met.shape[:3], -1)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        taps = list(_taps(x, ctx.stride))
        by_x = by_weight = None
        if ctx.needs_input_grad[0]:
            by_x = torch.empty_like(x, memory_format=torch.channels_last).zero_()
        if ctx.needs_input_grad[1]:
            by_weight = torch.empty_like(weight, memory_format=torch.channels_last)
            if len(taps) < 9:
                by_weight.zero_()
        pixels, above, filters = (tensor.permute(0, 2, 3, 1) for tensor in (x, gradient, weight))
        for tap, to, of in taps:
            met, slope = pixels[of], above[to].flatten(0, 2)
            if by_x is not None:
                by_x.permute(0, 2, 3, 1)[of] += (slope @ filters[tap]).view(met.shape)
            if by_weight is not None:
                torch.mm(slope.T, met.flatten(0, 2), out=by_weight.permute(0, 2, 3, 1)[tap])
        return by_x, by_weight, None


def _outputs(size: int, stride: int) -> int:
    return (size - 1) // stride + 1


def _taps(x: Tensor, stride: int) -> Iterator[tuple[tuple[slice | int, ...], ...]]:
    """Indices for each tap that meets a pixel: into filters [O, 3, 3, C], outputs [B, H, W, O], pixels [B, H, W, C]."""
    every = slice(None)
    down, across = (_along(size, stride) for size in x.shape[2:])
    for row, (rows_to, rows_of) in down.items():
        for column, (columns_to, columns_of) in across.items():
            yield (every, row, column), (every, rows_to, columns_to), (every, rows_of, columns_of)


def _along(size: int, stride: int) -> dict[int, tuple[slice, slice]]:
    """By the tap's position along one side: slices of the outputs that it adds to and of the pixels that it meets."""
    met = {}
    for tap in range(3):
        to = [out for out in range(_outputs(size, stride)) if 0 <= out * stride + tap - 1 < size]
        if to:
            first, last = to[0] * stride + tap - 1, to[-1] * stride + tap - 1
            met[tap] = slice(to[0], to[-1] + 1), slice(first, last + 1, stride)
    return met
