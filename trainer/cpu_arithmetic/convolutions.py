"""Which way a 3 x 3 convolution goes on the CPU: torch's, Winograd's (``winograd``) or by taps (``small_maps``)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.cpu_arithmetic import small_maps, winograd
from utils.device import fast_cpu


def forwards(model: nn.Module, tiles: int = winograd.TILES) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """Functions by which the model's convolutions take the fastest way for each input.

    Args:
        tiles: from how many on, in all images of a batch, Winograd's is taken to be faster.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return {layer: functools.partial(_forward, layer, tiles) for layer in layers if _fits(layer, layer.weight)}


def convolve(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What ``layer``, of one group and bordered by zeros, makes of ``x`` with these weights."""
    if fast_cpu() and _fits(layer, weight):
        y = _faster(layer, x, weight, bias, winograd.TILES)
        if y is not None:
            return y
    return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def _forward(layer: nn.Conv2d, tiles: int, input: Tensor) -> Tensor:
    y = _faster(layer, input, layer.weight, layer.bias, tiles)
    return type(layer).forward(layer, input) if y is None else y


def _faster(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None, tiles: int) -> Tensor | None:
    """The output by a way that is faster than torch's; None where there is none."""
    if x.ndim != 4 or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return None
    if small_maps.pays(x, weight, layer.stride[0]):
        return small_maps.conv2d(x, weight, bias, layer.stride[0])
    if layer.stride == (1, 1) and winograd.pays(x, weight, tiles):
        return winograd.conv2d(x, weight, bias)
    return None


def _fits(layer: nn.Conv2d, weight: Tensor) -> bool:
    """Whether the layer is a plain 3 x 3 convolution over a border of one zero, in float32 and channels-last."""
    bordered = layer.padding == (1, 1) or layer.padding == "same" and layer.stride == (1, 1)
    square = layer.kernel_size == (3, 3) and layer.dilation == (1, 1) and layer.stride in ((1, 1), (2, 2))
    plain = type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return bordered and square and plain and last and weight.device.type == "cpu" and weight.dtype == torch.float32
