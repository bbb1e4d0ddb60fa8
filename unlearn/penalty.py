"""Penalties that methods add to a loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def squared_distance(model: nn.Module, start: dict[str, Tensor]) -> Tensor:
    """Sum of the squared distances of the parameters named in ``start`` from these values: a differentiable scalar."""
    return torch.stack([(model.get_parameter(name) - value).square().sum() for name, value in start.items()]).sum()


def gamma(schedule: str, alpha: float, epoch: int, epochs: int, without: int) -> float:
    """Penalty weight of epoch ``epoch``, from 0, of ``epochs``, of which the last ``without`` have no penalty.

    Over the E penalised epochs it falls linearly from alpha in the first to alpha / E in the last ("decaying"), rises
    in the same way ("growing"), or stays alpha ("constant"). If ``without`` leaves no epoch, it is alpha in all epochs,
    as in the reference.
    Source: Jia et al. 2023, section 4 and its ablation of schedulers.
    """
    penalised = epochs - without
    if penalised == 0:
        return alpha
    if epoch >= penalised:
        return 0.0
    share = {"decaying": 1 - epoch / penalised, "growing": (epoch + 1) / penalised, "constant": 1.0}
    return alpha * share[schedule]
