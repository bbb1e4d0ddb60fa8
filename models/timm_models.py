"""Any architecture of timm with new weights, as ``timm:NAME``; timm is imported only for these."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.normalize import normalize_first
from utils.errors import UsageError
from utils.names import nearest


def check(name: str) -> None:
    """Raise a ``UsageError`` if timm is not installed or does not know ``name``."""
    timm = _timm(name)
    if not timm.is_model(name):
        raise UsageError(
            f"--arch timm:{name}: unknown{nearest(name, timm.list_models())}; timm.list_models() names all"
        )


def build(name: str, classes: int, size: int | None = None) -> nn.Module:
    """timm's model under timm's own keys, with ``normalize`` as its first step.

    Args:
        size: side of the images in pixels, for models that are built for one side; None for timm's default.
    """
    timm = _timm(name)
    fixed = size is not None and timm.models.get_pretrained_cfg(name).fixed_input_size
    model = timm.create_model(name, pretrained=False, num_classes=classes, **({"img_size": size} if fixed else {}))
    return normalize_first(model)


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"--arch timm:{name}: timm is not installed; pip install timm") from error
    return timm
