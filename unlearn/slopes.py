"""Directional derivatives of every sample's loss along a few directions in the space of weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.cpu_arithmetic import cpu_arithmetic
from trainer.cpu_arithmetic.convolutions import convolve
from unlearn.curvature import Tensors, plain_attention

AT_ONCE = 64  # images per batch; enough to make the cost of transforming weights small


def slopes(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], directions: list[Tensors]) -> list[Tensor]:
    """Directional derivatives of every sample's cross-entropy.

    Args:
        model: in eval mode.
        batches: images, float [B, C, H, W], and labels, int64 [B].
        directions: tensors by parameter name, in the parameters' shapes.
    Returns:
        For each direction the inner products of the samples' gradients with it, float64 [N] on the CPU.
    """
    return (_slopes_backward if _is_simple(model) else _slopes_forward)(model, batches, directions)


def _is_simple(model: nn.Module) -> bool:
    """Whether all parameters belong to layers that ``_slopes_backward`` knows."""
    known = (nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)

    def plain(m: nn.Module) -> bool:
        return type(m) in known or type(m) is nn.Conv2d and m.groups == 1 and m.padding_mode == "zeros"

    return sum(len(list(m.parameters(recurse=False))) for m in filter(plain, model.modules())) == len(
        list(model.parameters())
    )


def _slopes_backward(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], directions: list[Tensors]
) -> list[Tensor]:
    """``slopes`` by one backward pass that computes no gradients of weights.

    A layer's share is, for each sample, the inner product of the gradient of its output with the output that the layer
    would have with the direction as its weights. For two directions this takes the work of four convolutions per layer,
    where forward mode takes six.
    """
    slopes: list[Tensor] = []
    moved = {}
    for name, layer in model.named_modules():
        keys = [key for key, _ in layer.named_parameters(recurse=False)]
        if keys:
            moved[layer] = _Moved(layer, [{key: d[f"{name}.{key}"] for key in keys} for d in directions])

    def follow(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0].detach()
        output.register_hook(lambda gradient: slopes.append(moved[layer].share(x, gradient)))

    handles = [layer.register_forward_hook(follow) for layer in moved]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows = []
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with cpu_arithmetic(model):
            for images, labels in batches:
                F.cross_entropy(model(images.detach().requires_grad_()), labels, reduction="sum").backward()
                rows.append(torch.stack(slopes))
                slopes.clear()
    finally:
        for handle in handles:
            handle.remove()
        for parameter in trained:
            parameter.requires_grad_(True)
    by_batch = torch.cat(rows, dim=2).cpu().split([row.shape[2] for row in rows], dim=2)  # waits for a GPU only once
    return list(torch.cat([shares.contiguous().double().sum(0) for shares in by_batch], dim=1))


class _Moved:
    """A layer whose parameters are replaced by those of several directions at once."""

    def __init__(self, layer: nn.Module, directions: list[Tensors]):
        self.layer, self.count = layer, len(directions)
        weights = [d["weight"] for d in directions]
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            self.weight = torch.cat(weights)
            if isinstance(layer, nn.Conv2d):
                self.weight = self.weight.contiguous(memory_format=torch.channels_last)
            self.bias = None if layer.bias is None else torch.cat([d["bias"] for d in directions])
        else:
            self.weight, self.bias = torch.stack(weights), torch.stack([d["bias"] for d in directions])

    def share(self, x: Tensor, gradient: Tensor) -> Tensor:
        """This layer's share of the slopes, [directions, B], from its input and the gradient of its output."""
        layer = self.layer
        if isinstance(layer, nn.Conv2d):
            moved = convolve(layer, x, self.weight, self.bias)
            return torch.stack([(part * gradient).flatten(1).sum(1) for part in moved.chunk(self.count, 1)])
        if isinstance(layer, nn.Linear):
            moved = F.linear(x, self.weight, self.bias)
            return torch.stack([(part * gradient).flatten(1).sum(1) for part in moved.chunk(self.count, -1)])
        assert isinstance(layer, _BatchNorm) and self.bias is not None
        assert layer.running_mean is not None and layer.running_var is not None
        by_bias = gradient.flatten(2).sum(2) if gradient.ndim > 2 else gradient
        product = gradient * x
        by_input = product.flatten(2).sum(2) if product.ndim > 2 else product
        by_weight = (by_input - by_bias * layer.running_mean) * (layer.running_var + layer.eps).rsqrt()
        return self.weight @ by_weight.T + self.bias @ by_bias.T


def _slopes_forward(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], directions: list[Tensors]
) -> list[Tensor]:
    """``slopes`` by forward-mode differentiation, for any model."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())
    slopes: list[list[Tensor]] = [[] for _ in directions]
    for images, labels in batches:

        def losses(weights: Tensors, images: Tensor = images, labels: Tensor = labels) -> Tensor:
            logits = torch.func.functional_call(model, (weights, buffers), (images,))
            return F.cross_entropy(logits, labels, reduction="none")

        for row, direction in zip(slopes, directions):
            with plain_attention(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch's own forward-mode rules still use torch.jit
                row.append(torch.func.jvp(losses, (parameters,), (direction,))[1])
    return [torch.cat(row).cpu().double() for row in slopes]
