"""Penalties that methods add to a loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def l1_norm(model: nn.Module) -> Tensor:
    """Sum of absolute values of all parameters that train: scalar, differentiable, subgradient 0 at 0.

    Pruned weights are zero and so add nothing, neither value nor gradient.
    """
    return torch.stack(list(torch._foreach_norm([p for p in model.parameters() if p.requires_grad], 1))).sum()


def squared_distance(model: nn.Module, start: dict[str, Tensor]) -> Tensor:
    """Sum over the parameters in ``start`` of their squared distance from these values: scalar, differentiable."""
    return torch.stack([(model.get_parameter(name) - value).square().sum() for name, value in start.items()]).sum()
