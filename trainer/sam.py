"""Adaptive sharpness-aware minimisation: descend the gradient of the worst point near the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ASAM:
    """Moves parameters uphill within a radius, and then back to exactly the same values.

    With gradient g the step is theta ** 2 * g * rho / || |theta| * g ||, with the norm over all parameters.

    Args:
        parameters: parameters of the model; those that have a gradient are moved.
        rho: the radius.
    Source: Kwon et al. 2021 (ASAM), equation 9 without its eta; Jia et al. 2023, released code (rho = 2).
    """

    def __init__(self, parameters: list[nn.Parameter], rho: float):
        self._parameters: list[Tensor] = list(parameters)
        self._rho = rho
        self._before: list[Tensor] = []
        # On a GPU one launch serves all parameters. On a CPU a single one stays in the cache between operations.
        self._at_once = 1 if parameters[0].device.type == "cpu" else len(parameters)

    @torch.no_grad()
    def up(self) -> None:
        """Go to the perturbed point, using the gradients at the present one."""
        self._before = self._before or [torch.empty_like(parameter) for parameter in self._parameters]
        torch._foreach_copy_(self._before, self._parameters)
        pairs = [(parameter, parameter.grad) for parameter in self._parameters if parameter.grad is not None]
        moved, gradients = [parameter for parameter, _ in pairs], [gradient for _, gradient in pairs]
        parts = [slice(start, start + self._at_once) for start in range(0, len(moved), self._at_once)]
        lengths: list[Tensor] = []
        for part in parts:
            lengths += torch._foreach_norm(torch._foreach_mul(torch._foreach_abs(moved[part]), gradients[part]))
        factor = self._rho / (torch.stack(lengths).norm() + 1e-12)
        for part in parts:
            step = torch._foreach_mul(torch._foreach_mul(moved[part], moved[part]), gradients[part])
            torch._foreach_mul_(step, factor)
            torch._foreach_add_(moved[part], step)

    @torch.no_grad()
    def back(self) -> None:
        """Return to the point before ``up``; gradients stay those of the perturbed point."""
        torch._foreach_copy_(self._parameters, self._before)
