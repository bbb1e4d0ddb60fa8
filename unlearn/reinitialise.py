"""Re-initialise layers and weights with numbers from a method's ``Draws``."""

from __future__ import annotations

import torch
from torch import nn

import pruner
from unlearn import layers
from unlearn.context import Context
from unlearn.draws import Draws


@torch.no_grad()
def reset(name: str, module: nn.Conv2d | nn.Linear, draws: Draws, *purpose: object) -> None:
    """Re-initialise a convolution or linear layer as PyTorch does, in place."""
    module.weight.copy_(draws.weight(f"{name}.weight", module.weight, layers.new_weight, *purpose))
    if module.bias is not None:
        module.bias.copy_(draws.weight(f"{name}.bias", module.bias, layers.new_bias(module.weight), *purpose))


@torch.no_grad()
def reset_blocks(modules: dict[str, nn.Module], draws: Draws, keep_statistics: bool) -> None:
    """Re-initialise layers in place.

    Convolutions become Kaiming-uniform, linear layers and packed attention Xavier-uniform, and biases 0. Batch norms
    get weights 1 and biases 0. Other modules are not changed.

    Args:
        modules: modules by name; sub-modules are changed only if they are listed themselves.
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
    """Draw the smallest weights anew, and set the smallest biases to 0, in place.

    These are the fraction ``amount`` of the kept weights and biases of all convolutions and linear layers together.
    Pruned weights stay pruned.
    """
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
