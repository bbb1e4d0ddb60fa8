"""Parts that every model has, found without knowing its architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


def head(model: nn.Module) -> nn.Linear | None:
    """The classifier's last layer: the last linear layer in module order; None if there is none."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return linears[-1] if linears else None


def named_head(model: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of the last linear layer in module order.

    Raises:
        ValueError: there is none.
    """
    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ValueError(f"{type(model).__name__} has no linear layer")
    return linears[-1]


def head_name(model: nn.Module) -> str | None:
    """Name of the last linear layer in module order; None if there is none."""
    return None if head(model) is None else named_head(model)[0]


def lay_out(model: nn.Module, layout: torch.memory_format = torch.channels_last) -> nn.Module:
    """Store the weights of all convolutions in a memory layout, so that they compute in it; in place, and returned.

    Other tensors stay as they are, since channels-last does not exist for five dimensions.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=layout)
    return model


def with_methods(module: nn.Module, **methods: Callable) -> nn.Module:
    """Replace methods of one module, in place, and return it.

    The module's class becomes a subclass of its old class, so that copies of the module keep the new methods and
    tracing sees them.
    """
    parent = type(module)
    module.__class__ = type(parent.__name__, (parent,), methods)
    return module


def add_class(model: nn.Module, row: Tensor, bias: Tensor) -> None:
    """Give the head one more output with these weights, float [1, features], and bias, float [1]; in place."""
    last = named_head(model)[1]
    longer = None if last.bias is None else torch.cat([last.bias.detach(), bias.to(last.bias)])
    _set_head(last, torch.cat([last.weight.detach(), row.to(last.weight)]), longer)


def keep_classes(model: nn.Module, classes: int) -> None:
    """Remove all outputs of the head but the first ``classes``, in place."""
    last = named_head(model)[1]
    bias = None if last.bias is None else last.bias.detach()[:classes].clone()
    _set_head(last, last.weight.detach()[:classes].clone(), bias)


def widen_to(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Add outputs of zero weights to the head until it has as many as in ``weights``; in place.

    Args:
        weights: a state dict of this architecture. If its head is not larger, or is missing, nothing changes.
    """
    name, last = named_head(model)
    stored = weights.get(f"{name}.weight")
    for _ in range(0 if stored is None else len(stored) - last.out_features):
        add_class(model, torch.zeros(1, last.in_features), torch.zeros(1))


def _set_head(last: nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    last.weight, last.out_features = nn.Parameter(weight), len(weight)
    if bias is not None:
        last.bias = nn.Parameter(bias)
