"""Any architecture of timm with new weights, as ``timm:NAME``; timm is imported only for these."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.normalize import normalize_first
from models.parts import with_methods
from utils.errors import UsageError
from utils.names import nearest


def check(name: str) -> None:
    """Raise a ``UsageError`` if timm is not installed or does not know ``name``."""
    timm = _timm(f"--arch timm:{name}")
    if not timm.is_model(name):
        raise UsageError(
            f"--arch timm:{name}: unknown{nearest(name, timm.list_models())}; timm.list_models() names all"
        )


def build(name: str, classes: int, size: int | None = None) -> nn.Module:
    """timm's model under timm's own keys, with ``normalize`` as its first step.

    Args:
        size: side of the images in pixels, read by models that are built for one side; None for timm's default.
    Raises:
        UsageError: timm is not installed.
    """
    timm = _timm(f"--arch timm:{name}")
    fixed = size is not None and timm.models.get_pretrained_cfg(name).fixed_input_size
    return normalize_first(create(name, classes, f"--arch timm:{name}", **({"img_size": size} if fixed else {})))


def create(name: str, classes: int, typed: str, **more: Any) -> nn.Module:
    """timm's model with new weights, changed only by ``without_memory``.

    Args:
        typed: the flag that asked for the model, for error messages.
        more: further arguments of ``timm.create_model``.
    Raises:
        UsageError: timm is not installed.
    """
    return without_memory(_timm(typed).create_model(name, pretrained=False, num_classes=classes, **more))


def without_memory(model: nn.Module) -> nn.Module:
    """Make attention layers look up their biases in every pass; in place, and returned.

    In eval mode timm caches the biases, so they would miss later optimiser steps, loaded weights and gradients.
    """
    for module in model.modules():
        if hasattr(module, "attention_bias_cache"):
            with_methods(module, get_attention_biases=_biases)
    return model


def _biases(attention: Any, device: torch.device) -> Tensor:
    """The attention biases of all pairs of tokens, float [heads, tokens, tokens], looked up in the parameters."""
    return attention.attention_biases[:, attention.attention_bias_idxs]


def _timm(typed: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"{typed}: timm is not installed; pip install timm") from error
    return timm
