"""Architectures by name: look-up, building, and recognising one by its weights."""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from models import hf_models, parts, timm_models
from models.normalize import Normalize
from utils import foreign
from utils.errors import UsageError
from utils.plugins import Registry

Builder = Callable[..., nn.Module]
ELSEWHERE = {"timm:": timm_models, "hf:": hf_models}  # modules for other packages' architectures, by name prefix
FOUND_IN = ("models", "unlearn_sparse.architectures")  # a package here, and the entry-point group of other packages
_builders: Registry[Builder] = Registry("--arch", "architecture", *FOUND_IN, forms=("timm:NAME", "hf:FOLDER"))
_imagenet_builders: Registry[Builder] = Registry("--imagenet_arch", "architecture with the ImageNet stem", *FOUND_IN)
_needs: dict[str, str] = {}  # optional package by architecture


def architecture(name: str, imagenet_stem: bool = False, needs: str | None = None) -> Callable[[Builder], Builder]:
    """Decorator that registers a builder under ``name``; ``imagenet_stem`` marks the variant for large images.

    A builder takes the number of classes and returns a new module with a sub-module ``normalize``. If it has a
    parameter ``size`` it is also given the images' side in pixels, and if it has ``compat``, "fixed" or "reference".

    Args:
        needs: an optional package that the architecture needs; None if it needs none.
    Raises:
        ValueError: the name is taken.
    """
    table = _imagenet_builders if imagenet_stem else _builders
    if needs is not None:
        _needs[name] = needs

    def register(builder: Builder) -> Builder:
        table.add(name, builder)
        return builder

    return register


def names() -> list[str]:
    """Names of all registered architectures, in order of registration; not those behind ``timm:`` and ``hf:``."""
    return list(_builders)


def build(
    name: str,
    classes: int,
    statistics: tuple[Sequence[float], Sequence[float]] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    imagenet_stem: bool = False,
    size: int | None = None,
    compat: str = "fixed",
    pretrained: bool = True,
) -> nn.Module:
    """A freshly initialised model on the CPU, its convolutions in channels-last layout.

    Args:
        name: one of ``names()``, ``timm:NAME``, or ``hf:FOLDER_OR_NAME``.
        classes: number of outputs.
        statistics: mean and standard deviation of the inputs by channel, for images in [0, 1]; a pretrained model may
            bring its own.
        imagenet_stem: 7x7 stem with stride 2 and a max-pool, where the architecture has that variant.
        size: side of the images in pixels, read by transformers with one position per patch; None for the
            side that the architecture was published for.
        compat: "reference" reproduces the defects of the reference code, which affect swin_t and tinyvit_11m; "fixed"
            does without.
        pretrained: False initialises weights anew even if the architecture comes with pretrained ones.
    Raises:
        UsageError: an unknown name, a stem that the architecture lacks, or a package or file that is missing.
    """
    check(name, imagenet_stem)
    model = _construct(_builder(name, imagenet_stem), classes, size=size, compat=compat, pretrained=pretrained)
    model.normalize = Normalize(*(getattr(model, "statistics", None) or statistics))
    return parts.lay_out(model)


def fitting(name: str, classes: int, size: int, imagenet_stem: bool = False, **more: Any) -> nn.Module:
    """``build`` a model, and try it on one black image of ``size`` x ``size`` pixels.

    Args:
        more: ``statistics``, ``compat`` or ``pretrained`` of ``build``.
    Raises:
        UsageError: whatever ``build`` refuses, and images of a size that the architecture does not take.
    """
    check(name, imagenet_stem)
    try:
        model = build(name, classes, imagenet_stem=imagenet_stem, size=size, **more).eval()
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size))
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001  (a layer may raise anything for a shape that it does not take)
        raise UsageError(
            f"--arch {name}: does not take images of {size}x{size} pixels ({error}); give another --input_size"
        ) from error
    return model.train()


def blank(name: str, classes: int, size: int, imagenet_stem: bool = False) -> nn.Module:
    """A model like that of ``fitting``, but on the meta device, in eval mode, and without pretrained weights.

    Raises:
        UsageError: whatever ``fitting`` refuses.
    """
    # Built and tried on the CPU: torch imports its compiler, for seconds, to do arithmetic on the meta device.
    return fitting(name, classes, size, imagenet_stem, pretrained=False).eval().to("meta")


def check(name: str, imagenet_stem: bool = False) -> None:
    """Raise a ``UsageError`` for an unknown name, a missing package, or a stem that the architecture lacks."""
    family, inner = _elsewhere(name)
    if family is not None:
        family.check(inner)
    else:
        _builders.get(name)
        if name in _needs and not _installed(name):
            raise UsageError(f"--arch {name}: {_needs[name]} is not installed; pip install {_needs[name]}")
    if imagenet_stem and name not in _imagenet_builders:
        raise UsageError(
            f"--imagenet_arch: {name} has no ImageNet stem; only {', '.join(sorted(_imagenet_builders))} have one"
        )


def _installed(name: str) -> bool:
    return name not in _needs or importlib.util.find_spec(_needs[name]) is not None


def origin(name: str) -> dict[str, str]:
    """What a run's configuration records of pretrained weights: for ``hf:`` ``pretrained``, SHA-256; else nothing."""
    family, inner = _elsewhere(name)
    return {"pretrained": family.digest(inner)} if family is hf_models else {}


def _elsewhere(name: str) -> tuple[Any, str]:
    """The module of ``ELSEWHERE`` and the name without prefix; None and the name for a registered architecture."""
    begins = next((begins for begins in ELSEWHERE if name.startswith(begins)), None)
    return (None, name) if begins is None else (ELSEWHERE[begins], name.removeprefix(begins))


def _builder(name: str, imagenet_stem: bool) -> Builder:
    family, inner = _elsewhere(name)
    if family is not None:
        return partial(family.build, inner)
    return (_imagenet_builders if imagenet_stem else _builders).get(name)


def _construct(builder: Builder, classes: int, **facts: int | str | None) -> nn.Module:
    """Call a builder with those of ``facts`` that it declares and that are known."""
    declared = inspect.signature(builder).parameters
    return builder(classes, **{key: value for key, value in facts.items() if key in declared and value is not None})


@cache
def _shapes(builder: Builder) -> tuple[dict[str, tuple[int, ...]], str | None]:
    """Shapes of the state dict by name, with 10 classes, and the name of the head."""
    with torch.device("meta"):
        model = builder(10)
    return foreign.shapes(model.state_dict()), parts.head_name(model)


def guesses(shapes: foreign.Shapes) -> list[tuple[str, bool]]:
    """Registered architectures whose state dict has ``shapes``, for any number of classes.

    Architectures that need an optional package are tried only if no other fits, since its import takes seconds.

    Args:
        shapes: shapes by name in a state dict; names of other code are matched as ``foreign.rename`` does.
    Returns:
        Pairs of a name, and whether it is the variant with the ImageNet stem.
    """
    candidates = [(name, stem) for table, stem in ((_builders, False), (_imagenet_builders, True)) for name in table]
    own = [pair for pair in candidates if pair[0] not in _needs]
    others = [pair for pair in candidates if pair[0] in _needs and _installed(pair[0])]
    for pairs in (own, others):
        fitting = [(name, stem) for name, stem in pairs if foreign.fits(shapes, *_shapes(_builder(name, stem)))]
        if fitting:
            return fitting
    return []


def guess(state: dict[str, torch.Tensor]) -> str | None:
    """The registered architecture that a state dict belongs to, in words; None unless exactly one fits."""
    fitting = guesses(foreign.shapes(state))
    return fitting[0][0] + (" with the ImageNet stem" if fitting[0][1] else "") if len(fitting) == 1 else None


def side(shapes: foreign.Shapes) -> int | None:
    """Side in pixels of the images that a vision transformer was built for, by its positions; None for other models."""
    positions = [shape for name, shape in shapes.items() if foreign.is_position(name) and len(shape) == 3]
    kernels = ("conv_proj.weight", "patch_embed.proj.weight")
    patches = [shape for name, shape in shapes.items() if name.endswith(kernels) and len(shape) == 4]
    if len(positions) != 1 or len(patches) != 1:
        return None
    # Beside the patches: a class token; nothing; a class and a distillation token; a class token and four registers.
    counts = (positions[0][1] - extra for extra in (1, 0, 2, 5))
    tokens = next((count for count in counts if count > 0 and math.isqrt(count) ** 2 == count), None)
    return None if tokens is None else math.isqrt(tokens) * patches[0][2]
