"""Batch norm over the whole batch when several processes hold parts of it."""
from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from utils import parallel


@contextmanager
def whole_batch_norm(model: nn.Module, batch: int) -> Iterator[None]:
    """Inside, training-mode batch norm takes mean and variance over all processes' images.

    Args:
        batch: images in all; where there are fewer than processes, each process holds all of them.

    torch's own SyncBatchNorm replaces modules and runs on GPUs only; here the modules stay what they are.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)] if parallel.size() > 1 else []
    for layer in layers:
        layer.forward = types.MethodType(functools.partial(_forward, copies=parallel.size() if batch < parallel.size() else 1), layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: _BatchNorm, x: Tensor, copies: int) -> Tensor:
    if not layer.training:
        return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps)
    from torch.distributed.nn.functional import all_reduce

    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    wide = torch.promote_types(x.dtype, torch.float32)  # sums of half-precision numbers need more
    count = all_reduce(torch.tensor(float(x.numel() // x.shape[1]), dtype=wide, device=x.device))
    mean = all_reduce(x.to(wide).sum(axes)) / count
    centred = x - mean.view(shape).to(x.dtype)
    variance = all_reduce(centred.to(wide).square().sum(axes)) / count
    with torch.no_grad():
        layer.num_batches_tracked += 1
        layer.running_mean.lerp_(mean.to(layer.running_mean), layer.momentum)
        values = count / copies
        layer.running_var.lerp_((variance * values / (values - 1)).to(layer.running_var), layer.momentum)
    scale = layer.weight * torch.rsqrt(variance + layer.eps)
    return centred * scale.view(shape).to(x.dtype) + layer.bias.view(shape).to(x.dtype)
