"""Batch norm in training mode: exact statistics over the images of all processes."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from utils import parallel

LAUNCHING = ("cuda",)  # kinds of devices on which launching a kernel takes longer than counting one batch
SLAB = 2**18  # numbers that are processed at a time; few enough to stay in the CPU's cache


def forwards(
    model: nn.Module, counted: list[Tensor], batch: int = 0, exact: bool = True
) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """Replacements for the ``forward`` of batch norm layers in train mode, by module.

    They take mean and variance over the images of all processes. torch's own SyncBatchNorm replaces modules and runs on
    GPUs only. torch's batch norm on the CPU adds channels-last numbers up one by one, which costs two of float32's
    seven digits.

    A layer that sees one number per channel (a last batch of one image, where maps have shrunk to 1 x 1) has no
    variance to normalise by. It uses its running statistics for that step without changing them, where torch would
    raise a ValueError.

    Args:
        counted: a list to which layers append their counters of batches instead of counting; see ``count``.
        batch: number of images of all processes together; with fewer images than processes, each process has all.
        exact: add up to full precision on the CPU; False with one process gives torch's own result.
    """

    def switch(layer: _BatchNorm, x: Tensor) -> Tensor:
        """Follows ``layer.training``, which may change while the ``forward`` is replaced."""
        return forward(layer, x) if layer.training else type(layer).forward(layer, x)

    forward = functools.partial(_single, counted=counted, exact=exact)
    if parallel.size() > 1:
        forward = functools.partial(_synchronised, copies=parallel.size() if batch < parallel.size() else 1)
    layers = [
        layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.training and _is_known(layer)
    ]
    return {layer: functools.partial(switch, layer) for layer in layers}


def count(counted: list[Tensor]) -> None:
    """Increase each counter by its number of occurrences in the list, in few launches for all instead of one each."""
    times = Counter(map(id, counted))
    for number in set(times.values()):
        alike = {id(counter): counter for counter in counted if times[id(counter)] == number}
        torch._foreach_add_(list(alike.values()), number)


def _is_known(layer: _BatchNorm) -> bool:
    """Whether the layer keeps running statistics and is torch's own, or timm's with dropout and activation behind."""
    plain = type(layer).forward is _BatchNorm.forward
    return layer.running_mean is not None and (plain or isinstance(getattr(layer, "act", None), nn.Module))


def _activated(layer: Any, y: Tensor) -> Tensor:
    """The output after dropout and activation of timm's layer; unchanged for torch's layers."""
    return y if type(layer).forward is _BatchNorm.forward else layer.act(layer.drop(y))


def _by_running_statistics(layer: _BatchNorm, x: Tensor) -> Tensor:
    assert layer.running_mean is not None and layer.running_var is not None
    # Copies, because a further batch may move the statistics before the backward pass has read them.
    mean, variance = layer.running_mean.clone(), layer.running_var.clone()
    return _activated(layer, F.batch_norm(x, mean, variance, layer.weight, layer.bias, False, 0.0, layer.eps))


def _single(layer: _BatchNorm, x: Tensor, counted: list[Tensor], exact: bool) -> Tensor:
    if x.numel() == x.shape[1]:
        return _by_running_statistics(layer, x)
    if x.device.type in LAUNCHING and layer.momentum is not None and layer.num_batches_tracked is not None:
        counted.append(layer.num_batches_tracked)
        statistics = layer.running_mean, layer.running_var
        y = F.batch_norm(x, *statistics, layer.weight, layer.bias, True, layer.momentum, layer.eps)
        return _activated(layer, y)
    last = x.ndim == 4 and x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)
    if not exact or not last or x.device.type != "cpu" or layer.weight is None:
        return type(layer).forward(layer, x)
    y, mean, variance = ChannelsLast.apply(x, layer.weight, layer.bias, layer.eps)
    values = x.numel() // x.shape[1]
    _track(layer, mean, variance * (values / (values - 1)))
    return _activated(layer, y)


class ChannelsLast(torch.autograd.Function):
    """Batch norm of float32 [B, C, H, W] in channels-last layout; returns output, mean and variance [C] of the batch.

    Source: Ioffe & Szegedy 2015, algorithm 1 and section 3 (derivatives).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean((0, 2, 3))
        centre = mean.view(1, -1, 1, 1)
        squares = ((x[part] - centre).square_().sum((0, 2, 3)) for part in _slabs(x))
        variance = sum(squares, torch.zeros_like(mean)) / (x.numel() // x.shape[1])
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        shape, values = (1, -1, 1, 1), x.numel() // x.shape[1]
        centre = mean.view(shape)
        by_bias = gradient.sum((0, 2, 3))
        by_weight = sum((x[part] - centre).mul_(gradient[part]).sum((0, 2, 3)) for part in _slabs(x)) * inverse
        scale = weight * inverse
        slope = (-scale * inverse * by_weight / values).view(shape)
        offset = (-scale * by_bias / values).view(shape) - centre * slope
        by_x = torch.empty_like(x)
        for part in _slabs(x):
            torch.addcmul(torch.addcmul(offset, x[part], slope), gradient[part], scale.view(shape), out=by_x[part])
        return by_x, by_weight, by_bias, None


def _slabs(x: Tensor) -> list[slice]:
    images = max(1, SLAB // max(1, x.numel() // len(x)))
    return [slice(start, start + images) for start in range(0, len(x), images)]


@torch.no_grad()
def _track(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert layer.running_mean is not None and layer.running_var is not None
    assert layer.num_batches_tracked is not None and layer.momentum is not None
    layer.num_batches_tracked += 1
    layer.running_mean.lerp_(mean.to(layer.running_mean), layer.momentum)
    layer.running_var.lerp_(variance.to(layer.running_var), layer.momentum)


def _synchronised(layer: _BatchNorm, x: Tensor, copies: int) -> Tensor:
    if x.numel() == x.shape[1] and copies == parallel.size():  # the same in every process
        return _by_running_statistics(layer, x)
    if x.device.type != "cpu":
        y, mean, variance, count = OneMessage.apply(x, layer.weight, layer.bias, layer.eps)
        _track_all(layer, mean, variance, count, copies)
        return _activated(layer, y)
    return _by_sums(layer, x, copies)


def _track_all(layer: _BatchNorm, mean: Tensor, variance: Tensor, count: Tensor, copies: int) -> None:
    values = count / copies
    _track(layer, mean, variance * values / (values - 1))


class OneMessage(torch.autograd.Function):
    """Batch norm of [B, C, ...] over all processes; returns output, mean, variance and count of numbers, [C] each.

    The forward and the backward pass send one message each to the other processes, as torch's SyncBatchNorm does. That
    one, however, makes the CPU wait in every layer to learn how many processes had images.

    Source: Ioffe & Szegedy 2015, algorithm 1 and section 3 (derivatives); Chan, Golub & LeVeque 1983, equation 2.1
    (variance of parts).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = torch.var_mean(x.to(torch.promote_types(x.dtype, torch.float32)), axes, correction=0)
        parts = mean.new_zeros(parallel.size(), 3, len(mean))
        parts[parallel.rank()] = torch.stack([mean, variance, torch.full_like(mean, x.numel() // len(mean))])
        means, variances, counts = parallel.add_up(parts).unbind(1)
        count = counts.sum(0)
        mean = (means * counts).sum(0) / count
        variance = ((variances + (means - mean).square()) * counts).sum(0) / count
        ctx.eps = eps
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        axes, shape = [axis for axis in range(x.ndim) if axis != 1], [1, -1] + [1] * (x.ndim - 2)
        inverse = (variance + ctx.eps).rsqrt()
        by_bias = gradient.sum(axes, dtype=mean.dtype)
        by_weight = (x - mean.view(shape)).mul_(gradient).sum(axes) * inverse
        all_weight, all_bias = parallel.add_up(torch.stack([by_weight, by_bias])).unbind(0)
        scale = weight * inverse
        slope = -scale * inverse * all_weight / count
        offset = -scale * all_bias / count - mean * slope
        by_x = torch.addcmul(torch.addcmul(offset.view(shape), x, slope.view(shape)), gradient, scale.view(shape))
        return by_x.to(x.dtype), by_weight, by_bias, None


def _by_sums(layer: _BatchNorm, x: Tensor, copies: int) -> Tensor:
    from torch.distributed.nn.functional import all_reduce

    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    wide = torch.promote_types(x.dtype, torch.float32)  # sums of half-precision numbers need more
    count = all_reduce(x.new_full((), x.numel() // x.shape[1], dtype=wide))
    mean = all_reduce(x.to(wide).sum(axes)) / count
    centred = x - mean.view(shape).to(x.dtype)
    variance = all_reduce(centred.to(wide).square().sum(axes)) / count
    _track_all(layer, mean.detach(), variance.detach(), count, copies)
    scale = layer.weight * torch.rsqrt(variance + layer.eps)
    return _activated(layer, centred * scale.view(shape).to(x.dtype) + layer.bias.view(shape).to(x.dtype))
