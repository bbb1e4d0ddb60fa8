"""The l1 penalty: its value and its gradient, for all weights at once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def trained(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The parameters that require gradients, which are the only ones to be penalised."""
    return [parameter for parameter in parameters if parameter.requires_grad]


@torch.no_grad()
def norm(parameters: list[Tensor]) -> Tensor:
    """Sum of absolute values: scalar. Pruned weights are zero and so add nothing."""
    return torch.stack(list(torch._foreach_norm(parameters, 1))).sum()


@torch.no_grad()
def add_slope(parameters: list[Tensor], weight: float) -> None:
    """Add ``weight`` times the subgradient of ``norm``, which is 0 at 0, to the parameters' gradients.

    Autograd would launch three kernels for every parameter, and one more to add up the gradients of loss and penalty.
    """
    gradients = []
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        gradients.append(parameter.grad)
    torch._foreach_add_(gradients, torch._foreach_sign(parameters), alpha=weight)
