"""Adaptive sharpness-aware minimisation: descend the gradient of the worst point near the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ASAM:
    """Moves parameters uphill within a radius, and back to the bit.

    With gradient g the step is theta ** 2 * g * rho / || |theta| * g ||, over all parameters.

    Args:
        parameters: those with a gradient are moved.
        rho: the radius.
    Source: Kwon et al. 2021 (ASAM), equation 9 without its eta; Jia et al. 2023, released code (rho = 2).
    """

    def __init__(self, parameters: list[nn.Parameter], rho: float):
        self._parameters: list[Tensor] = list(parameters)
        self._rho = rho
        self._before: list[Tensor] = []

    @torch.no_grad()
    def up(self) -> None:
        """Go to the perturbed point, using the gradients at the present one."""
        self._before = [parameter.clone() for parameter in self._parameters]
        moved = [(p, p.grad) for p in self._parameters if p.grad is not None]
        norm = torch.stack([(p.abs() * gradient).norm() for p, gradient in moved]).norm()
        for parameter, gradient in moved:
            parameter.add_(parameter.square() * gradient * (self._rho / (norm + 1e-12)))

    @torch.no_grad()
    def back(self) -> None:
        """Return to the point before ``up``; gradients stay those of the perturbed point."""
        torch._foreach_copy_(self._parameters, self._before)
