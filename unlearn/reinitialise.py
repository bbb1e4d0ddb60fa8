"""Layers and weights that begin anew, with numbers that a method draws."""

from __future__ import annotations

import torch
from torch import nn

import pruner
from unlearn import layers
from unlearn.context import Context
from unlearn.draws import Draws


@torch.no_grad()
def reset(name: str, module: nn.Conv2d | nn.Linear, draws: Draws, *purpose: object) -> None:
    """Begin a convolution or linear layer anew, as PyTorch begins it."""
    module.weight.copy_(draws.weight(f"{name}.weight", module.weight, layers.new_weight, *purpose))
    if module.bias is not None:
        module.bias.copy_(draws.weight(f"{name}.bias", module.bias, layers.new_bias(module.weight), *purpose))


@torch.no_grad()
def reset_blocks(modules: dict[str, nn.Module], draws: Draws, keep_statistics: bool) -> None:
    """Begin layers anew: convolutions Kaiming-uniform, linear layers Xavier-uniform, biases 0, batch norms 1 and 0.

    Args:
        keep_statistics: whether batch norm keeps its running statistics.
    """
    for name, module in modules.items():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            kind = layers.kaiming_uniform if isinstance(module, nn.Conv2d) else layers.xavier_uniform
            module.weight.copy_(draws.weight(f"{name}.weight", module.weight, kind, "new blocks"))
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            module.in_proj_weight.copy_(
                draws.weight(f"{name}.in_proj_weight", module.in_proj_weight, layers.xavier_uniform, "new blocks")
            )
            module.in_proj_bias.zero_()
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.weight.fill_(1)
            module.bias.zero_()
            if not keep_statistics:
                module.reset_running_stats()


def reset_smallest(model: nn.Module, amount: float, context: Context) -> None:
    """Zero the smallest ``amount`` of all layers' kept weights and biases together, then draw weights of 0 anew."""
    parameters = layers.affine(model)
    kept = {name: context.mask.get(name, torch.ones(p.shape, dtype=torch.bool)) for name, p in parameters.items()}
    pruner.MaskEnforcer(model, pruner.choose({name: p.detach().abs() for name, p in parameters.items()}, amount, kept))
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.ndim > 1:
                spread = 2 * parameter[0].numel() ** -0.5
                fresh = (context.draws.uniform(name, parameter, "reinitialised") - 0.5) * spread
                parameter.copy_(torch.where(parameter == 0, fresh, parameter))
    pruner.MaskEnforcer(model, context.mask)
