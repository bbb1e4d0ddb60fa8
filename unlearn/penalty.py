"""Penalties that methods add to a loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def squared_distance(model: nn.Module, start: dict[str, Tensor]) -> Tensor:
    """Sum over the parameters in ``start`` of their squared distance from these values: scalar, differentiable."""
    return torch.stack([(model.get_parameter(name) - value).square().sum() for name, value in start.items()]).sum()


def gamma(schedule: str, alpha: float, epoch: int, epochs: int, without: int) -> float:
    """Penalty weight of an epoch (counted from 0) out of ``epochs``, the last ``without`` of which have none.

    Over E penalised epochs it falls linearly from alpha at the first to alpha / E at the last
    ("decaying"), rises the same way ("growing"), or stays. Constant ``alpha`` where ``without``
    leaves no epoch, as the reference has it.
    Source: Jia et al. 2023, section 4 and its ablation of schedulers.
    """
    penalised = epochs - without
    if penalised == 0:
        return alpha
    if epoch >= penalised:
        return 0.0
    share = {"decaying": 1 - epoch / penalised, "growing": (epoch + 1) / penalised, "constant": 1.0}
    return alpha * share[schedule]
