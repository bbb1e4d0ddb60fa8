"""Choose the algorithm of a 3 x 3 convolution on the CPU: torch's, ``winograd``, or ``small_maps``."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.cpu_arithmetic import small_maps, winograd
from utils.device import fast_cpu


def forwards(model: nn.Module, tiles: int = winograd.TILES) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """Replacements for the ``forward`` of convolutions, by module, that use the fastest algorithm for each input.

    Args:
        tiles: number of tiles in a batch from which Winograd's algorithm is used.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return {layer: functools.partial(_forward, layer, tiles) for layer in layers if _fits(layer, layer.weight)}


def convolve(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The output of a convolution with other weights, by the fastest algorithm.

    Args:
        layer: a convolution of one group, padded with zeros, for its stride, padding and dilation.
        x: float [B, C, H, W].
        weight: float [O, C, height, width] with the layer's kernel size; O may be another number than the layer's.
        bias: float [O], or None.
    """
    if fast_cpu() and _fits(layer, weight):
        y = _faster(layer, x, weight, bias, winograd.TILES)
        if y is not None:
            return y
    return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def _forward(layer: nn.Conv2d, tiles: int, input: Tensor) -> Tensor:
    y = _faster(layer, input, layer.weight, layer.bias, tiles)
    return type(layer).forward(layer, input) if y is None else y


def _faster(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None, tiles: int) -> Tensor | None:
    """The output by an algorithm that is faster than torch's; None if there is none for this input."""
    if x.ndim != 4 or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return None
    if small_maps.pays(x, weight, layer.stride[0]):
        return small_maps.conv2d(x, weight, bias, layer.stride[0])
    if layer.stride == (1, 1) and winograd.pays(x, weight, tiles):
        return winograd.conv2d(x, weight, bias)
    return None


def _fits(layer: nn.Conv2d, weight: Tensor) -> bool:
    """Whether the layer is a 3 x 3 convolution of one group with padding 1, on the CPU, float32 and channels-last."""
    bordered = layer.padding == (1, 1) or layer.padding == "same" and layer.stride == (1, 1)
    square = layer.kernel_size == (3, 3) and layer.dilation == (1, 1) and layer.stride in ((1, 1), (2, 2))
    plain = type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return bordered and square and plain and last and weight.device.type == "cpu" and weight.dtype == torch.float32
