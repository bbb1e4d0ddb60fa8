"""Parts that every model has, found without knowing its architecture."""
from __future__ import annotations

from torch import nn


def head(model: nn.Module) -> nn.Linear | None:
    """The classifier's last layer: the last linear layer in module order; None if there is none."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return linears[-1] if linears else None
