"""Similarity of models layer by layer: of features by CKA, of weights by relative distance and share of changes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from compare.opening import evenly
from dataset.images import Images
from evaluation import similarity
from evaluation.features import layer_grams
from evaluation.weight_distance import weight_changes
from models.parts import head_name
from unlearn.layers import blocks, stem

SAMPLE = 512  # most images of a set for CKA
Pair = tuple[int, int]  # positions of two models


@dataclass(frozen=True)
class Layers:
    """Similarity of all pairs of models, a number per layer; None where it is not defined.

    Attributes:
        names: of the layers that all models have, from input to output.
        images: the number of images by set from which CKA was estimated.
        cka: CKA by set and pair (a, b) with a < b, in [0, 1] up to the noise of its unbiased estimate.
        relative: by ordered pair (a, b), the L2 norm of the weights' difference divided by that of b's weights.
        changed: by ordered pair, the share of the weights that differ, in [0, 1].
    """

    names: list[str]
    images: dict[str, int] = field(default_factory=dict)
    cka: dict[str, dict[Pair, list[float | None]]] = field(default_factory=dict)
    relative: dict[Pair, list[float | None]] = field(default_factory=dict)
    changed: dict[Pair, list[float | None]] = field(default_factory=dict)


def compare_layers(models: Sequence[nn.Module], sets: Mapping[str, Images]) -> Layers:
    """Compare every pair of models in the layers that all have, with at most ``SAMPLE`` images of each set.

    Sets of fewer than 4 images get no CKA. Weights are compared only for pairs of models with equal shapes.

    Args:
        sets: images by name.
    """
    known = [layer_names(model) for model in models]
    names = [name for name in known[0] if all(name in others for others in known)]
    layers = Layers(names)
    for title, images in sets.items():
        part = images.at(images.indices[evenly(len(images), SAMPLE)])
        if len(part) > 3:
            layers.images[title] = len(part)
            layers.cka[title] = _cka([layer_grams(model, names, part) for model in models], names)
    states = [model.state_dict() for model in models]
    shapes = [{key: value.shape for key, value in model.named_parameters()} for model in models]
    groups = parameters_by_layer(models[0], names)
    for a, b in itertools.permutations(range(len(models)), 2):
        if shapes[a] == shapes[b]:
            changes = weight_changes(states[b], states[a], groups)
            layers.relative[a, b] = [_number(changes[name][0]) if name in changes else None for name in names]
            layers.changed[a, b] = [changes[name][1] if name in changes else None for name in names]
    return layers


def layer_names(model: nn.Module) -> list[str]:
    """Module names of the first convolution, of every block (a residual block for example), and of the last layer."""
    layers = [stem(model)[0]]
    for name in blocks(model):
        inner = [child for child, module in model.get_submodule(name).named_children() if _has_weights(module)]
        numbered = bool(inner) and all(child.isdecimal() for child in inner)
        layers += [f"{name}.{child}" for child in inner] if numbered else [name]
    last = head_name(model)
    return list(dict.fromkeys(layers if last is None else [*layers, last]))


def parameters_by_layer(model: nn.Module, layers: Sequence[str]) -> dict[str, list[str]]:
    """Names of the parameters by layer. A parameter between two layers is assigned to the one before.

    Args:
        layers: module names in order, as of ``layer_names``.
    """
    groups: dict[str, list[str]] = {}
    current = layers[0] if layers else ""
    for key, _ in model.named_parameters():
        current = next((name for name in layers if key.startswith(f"{name}.")), current)
        groups.setdefault(current, []).append(key)
    return groups


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _cka(grams: Sequence[dict[str, list[Tensor]]], names: Sequence[str]) -> dict[Pair, list[float | None]]:
    def alignment(a: int, b: int, name: str) -> float | None:
        known = name in grams[a] and name in grams[b]
        return _number(similarity.alignment(grams[a][name], grams[b][name])) if known else None

    pairs = itertools.combinations(range(len(grams)), 2)
    return {(a, b): [alignment(a, b, name) for name in names] for a, b in pairs}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
