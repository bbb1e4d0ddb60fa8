"""SalUn-soft's proximal steps, which follow every gradient step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearn.context import Context


class SoftThreshold:
    """Soft threshold on the weights' distances from their starting values.

    After step k of K, from 1, the smallest ``floor(ratio * P * (K - k) / K)`` of all P distances |theta - theta_0|
    become 0, and the others shrink by the largest of these. The last step does not shrink anything.

    Args:
        model: the model at its starting values theta_0.
        context: its mask excludes pruned weights. With ``compat`` "reference" all parameters count, frozen ones
            included.
        ratio: fraction in [0, 1].
        stretch: K divided by the number of steps that are taken.
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
        """Shrink the distances after step number ``step``, from 0, of ``steps``; in place."""
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
