"""Look-up of architectures by name."""
from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from models.normalize import Normalize
from utils.errors import UsageError
from utils.names import lookup

Builder = Callable[[int], nn.Module]
_builders: dict[str, Builder] = {}
_imagenet_builders: dict[str, Builder] = {}


def architecture(name: str, imagenet_stem: bool = False) -> Callable[[Builder], Builder]:
    """Register a builder under ``name``; ``imagenet_stem`` marks the variant for large images."""
    table = _imagenet_builders if imagenet_stem else _builders

    def register(builder: Builder) -> Builder:
        if name in table:
            raise ValueError(f"architecture {name!r} is registered twice")
        table[name] = builder
        return builder

    return register


def names() -> list[str]:
    """Names of all architectures, in order of registration."""
    return list(_builders)


def build(
    name: str,
    classes: int,
    mean: Iterable[float] = (0.0, 0.0, 0.0),
    std: Iterable[float] = (1.0, 1.0, 1.0),
    imagenet_stem: bool = False,
) -> nn.Module:
    """A freshly initialised model on the CPU.

    Args:
        name: one of ``names()``.
        classes: width of the head.
        mean, std: per-channel statistics of the inputs, which are in [0, 1].
        imagenet_stem: 7x7 stem with stride 2 and a max-pool, where the architecture has that variant.
    Raises:
        UsageError: for an unknown name or a stem that the architecture lacks.
    """
    check(name, imagenet_stem)
    model = (_imagenet_builders if imagenet_stem else _builders)[name](classes)
    model.normalize = Normalize(mean, std)
    return model


def check(name: str, imagenet_stem: bool = False) -> None:
    """Raise a ``UsageError`` for an unknown name, or for a stem that the architecture lacks."""
    lookup(name, _builders, "--arch")
    if imagenet_stem and name not in _imagenet_builders:
        raise UsageError(f"--imagenet_arch: {name} has no ImageNet stem; only {', '.join(_imagenet_builders)} have one")


def guess(state: dict[str, torch.Tensor]) -> str | None:
    """The registered architecture whose keys are exactly those of ``state``, if there is one."""
    for table, suffix in ((_builders, ""), (_imagenet_builders, " with the ImageNet stem")):
        for name, builder in table.items():
            with torch.device("meta"):
                shapes = builder(10).state_dict()
            same = shapes.keys() == state.keys() and all(
                shapes[key].shape[1:] == value.shape[1:] for key, value in state.items()
            )
            if same:
                return name + suffix
    return None
