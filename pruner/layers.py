"""Which weights of a model can be pruned."""
from __future__ import annotations

from torch import nn


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of all convolutions, by name, in module order (stem and 1x1 shortcuts included).

    Batch norm, biases and the classifier are never pruned (Jia et al. 2023, section 3).
    """
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    }
