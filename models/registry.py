"""Look-up of architectures by name."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from models import hf_models, parts, timm_models
from models.normalize import Normalize
from utils.errors import UsageError
from utils.names import lookup
from utils.registry import Registry

Builder = Callable[..., nn.Module]
ELSEWHERE = {"timm:": timm_models, "hf:": hf_models}  # families of other packages, by what their names begin with
_builders: Registry[Builder] = Registry("--arch", "architecture")
_imagenet_builders: Registry[Builder] = Registry("--arch", "architecture with the ImageNet stem")


def architecture(name: str, imagenet_stem: bool = False) -> Callable[[Builder], Builder]:
    """Register a builder under ``name``; ``imagenet_stem`` marks the variant for large images."""
    table = _imagenet_builders if imagenet_stem else _builders

    def register(builder: Builder) -> Builder:
        table.add(name, builder)
        return builder

    return register


def names() -> list[str]:
    """Names of all architectures but other packages', in order of registration."""
    return list(_builders)


def build(
    name: str,
    classes: int,
    mean: Iterable[float] = (0.0, 0.0, 0.0),
    std: Iterable[float] = (1.0, 1.0, 1.0),
    imagenet_stem: bool = False,
    size: int | None = None,
    compat: str = "fixed",
    pretrained: bool = True,
) -> nn.Module:
    """A freshly initialised model on the CPU, its convolutions in channels-last layout.

    Args:
        name: one of ``names()``, ``timm:NAME``, or ``hf:FOLDER_OR_NAME``.
        classes: width of the head.
        mean, std: per-channel statistics of the inputs, which are in [0, 1]; a pretrained model may bring its own.
        imagenet_stem: 7x7 stem with stride 2 and a max-pool, where the architecture has that variant.
        size: side of the images in pixels, read by transformers with one position per patch; None for the
            side that the architecture was published for.
        compat: "reference" gives the reference's defects; only swin_t has one, which is not to normalise.
        pretrained: False gives new weights where the architecture comes with some.
    Raises:
        UsageError: for an unknown name or a stem that the architecture lacks.
    """
    check(name, imagenet_stem)
    model = _construct(_builder(name, imagenet_stem), classes, size=size, compat=compat, pretrained=pretrained)
    model.normalize = Normalize(*(getattr(model, "statistics", None) or (mean, std)))
    return parts.lay_out(model)


def blank(name: str, classes: int, size: int, imagenet_stem: bool = False) -> nn.Module:
    """What ``build`` would build for images of ``size`` x ``size`` pixels, on the meta device: shapes without weights.

    Raises:
        UsageError: whatever ``build`` refuses, and images of a size that the architecture does not take.
    """
    check(name, imagenet_stem)
    try:
        # Built and tried on the CPU: torch imports its compiler, for seconds, to do arithmetic on the meta device.
        model = build(name, classes, imagenet_stem=imagenet_stem, size=size, pretrained=False).eval()
        with torch.inference_mode():
            model(torch.zeros(1, 3, size, size))
        model = model.to("meta")
    except Exception as error:  # noqa: BLE001  (what a layer raises for a shape that it does not take is its own affair)
        raise UsageError(f"--arch {name}: does not take images of {size}x{size} pixels ({error}); give another --input_size") from error
    return model


def check(name: str, imagenet_stem: bool = False) -> None:
    """Raise a ``UsageError`` for an unknown name, or for a stem that the architecture lacks."""
    family, rest = _elsewhere(name)
    if family is not None:
        family.check(rest)
    elif name not in _builders:
        lookup(name, [*_builders, "timm:NAME", "hf:FOLDER"], "--arch")
    if imagenet_stem and name not in _imagenet_builders:
        raise UsageError(f"--imagenet_arch: {name} has no ImageNet stem; only {', '.join(_imagenet_builders)} have one")


def origin(name: str) -> dict[str, str]:
    """What a run's configuration says of the weights that its architecture comes with; nothing for most."""
    family, rest = _elsewhere(name)
    return {"pretrained": family.digest(rest)} if family is hf_models else {}


def _elsewhere(name: str) -> tuple[Any, str]:
    """The module of another package's architectures and the name there; None for ours."""
    begins = next((begins for begins in ELSEWHERE if name.startswith(begins)), None)
    return (None, name) if begins is None else (ELSEWHERE[begins], name.removeprefix(begins))


def _builder(name: str, imagenet_stem: bool) -> Builder:
    family, rest = _elsewhere(name)
    if family is not None:
        return partial(family.build, rest)
    return (_imagenet_builders if imagenet_stem else _builders).get(name)


def _construct(builder: Builder, classes: int, **facts: int | str | None) -> nn.Module:
    """Call a builder with those of ``facts`` that it declares and that are known."""
    declared = inspect.signature(builder).parameters
    return builder(classes, **{key: value for key, value in facts.items() if key in declared and value is not None})


@cache
def _shapes(builder: Builder) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in builder(10).state_dict().items()}


def guess(state: dict[str, torch.Tensor]) -> str | None:
    """The registered architecture whose keys are exactly those of ``state``, if there is one."""
    for table, suffix in ((_builders, ""), (_imagenet_builders, " with the ImageNet stem")):
        for name in table:
            shapes = _shapes(table.get(name))
            same = shapes.keys() == state.keys() and all(
                shapes[key][1:] == value.shape[1:] for key, value in state.items()
            )
            if same:
                return name + suffix
    return None
