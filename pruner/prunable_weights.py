"""Which weights of a model can be pruned."""

from __future__ import annotations

from torch import Tensor, nn

from models.parts import head


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """Weights of all convolutions, by name, in module order (stem and 1x1 shortcuts included).

    If the linear layers other than the head have more weights than the convolutions, as in transformers, the weights
    of these linear layers are returned instead, packed ``in_proj_weight`` of attention included. Norms, biases,
    embeddings and the classifier are never pruned (Jia et al. 2023, section 3).

    Returns:
        The model's own parameters, not copies.
    """
    convolutions: dict[str, Tensor] = {}
    linears: dict[str, Tensor] = {}
    classifier = head(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            convolutions[f"{name}.weight"] = module.weight
        elif isinstance(module, nn.Linear) and module is not classifier:
            linears[f"{name}.weight"] = module.weight
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            linears[f"{name}.in_proj_weight"] = module.in_proj_weight
    return convolutions if _count(convolutions) >= _count(linears) else linears


def _count(parameters: dict[str, Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())
