"""Proximal steps: what SalUn-soft does to the weights after every step along gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearn.context import Context


class SoftThreshold:
    """Soft-thresholds how far weights are from where they began.

    After step k of K, from 1, the smallest ``floor(ratio * P * (K - k) / K)`` of all P distances |theta - theta_0|
    become 0, and the others shrink by the largest of these. The last step shrinks nothing.

    Args:
        model: at theta_0.
        context: with the mask of pruned weights, which are not counted. With ``compat`` "reference" all parameters
            are, frozen ones too.
        ratio: in [0, 1].
        stretch: K in terms of the steps that are taken.
    Source: Fan et al. 2024 (SalUn), appendix, and its authors' code.
    """

    def __init__(self, model: nn.Module, context: Context, ratio: float, stretch: float = 1.0):
        everything = context.compat == "reference"
        self._parameters = {
            name: value for name, value in model.named_parameters() if everything or value.requires_grad
        }
        self._start = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._mask = {} if everything else context.mask
        self._ratio, self._stretch = ratio, stretch

    @torch.no_grad()
    def __call__(self, step: int, steps: int) -> None:
        """Shrink after the step with this number, from 0, of so many that are taken."""
        moved = {name: value - self._start[name] for name, value in self._parameters.items()}
        far = torch.cat([self._counted(name, value.abs()) for name, value in moved.items()])
        planned = steps * self._stretch
        rank = int(self._ratio * len(far) * (planned - step - 1) / planned)
        if rank <= 0:
            return
        on_cpu = far.device.type == "cpu"  # a GPU is slow to find a single rank, and quick to sort
        threshold = far.kthvalue(rank).values if on_cpu else far.sort().values[rank - 1]
        for name, value in self._parameters.items():
            change = moved[name]
            kept = torch.where(change.abs() > threshold, change - threshold * change.sign(), 0.0)
            value.copy_(self._start[name] + kept)

    def _counted(self, name: str, values: Tensor) -> Tensor:
        mask = self._mask.get(name)
        return values.flatten() if mask is None else values[mask.to(values.device)]
