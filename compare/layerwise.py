"""How alike models are layer by layer: features by CKA, weights by length and share of what changed."""

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

SAMPLE = 512  # images of a set that CKA is estimated from
Pair = tuple[int, int]  # positions of two models


@dataclass(frozen=True)
class Layers:
    """Similarity of all pairs of models, a number per layer; None where it is not defined.

    Attributes:
        names: of the layers that all models have, from input to output.
        images: by set, how many CKA was estimated from.
        cka: by set and pair, the first model before the second.
        relative: by ordered pair, length of the difference of the weights over the length of the second model's.
        changed: by pair, the share of the weights that differ, in [0, 1].
    """

    names: list[str]
    images: dict[str, int] = field(default_factory=dict)
    cka: dict[str, dict[Pair, list[float | None]]] = field(default_factory=dict)
    relative: dict[Pair, list[float | None]] = field(default_factory=dict)
    changed: dict[Pair, list[float | None]] = field(default_factory=dict)


def compare_layers(models: Sequence[nn.Module], sets: Mapping[str, Images]) -> Layers:
    """Every pair of models, on at most ``SAMPLE`` images of each set; layers that not all models have are left out."""
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
    """Names of the first convolution, of every block, such as a residual one, and of the last layer, in order."""
    layers = [stem(model)[0]]
    for name in blocks(model):
        inner = [child for child, module in model.get_submodule(name).named_children() if _has_weights(module)]
        numbered = bool(inner) and all(child.isdecimal() for child in inner)
        layers += [f"{name}.{child}" for child in inner] if numbered else [name]
    last = head_name(model)
    return list(dict.fromkeys(layers if last is None else [*layers, last]))


def parameters_by_layer(model: nn.Module, layers: Sequence[str]) -> dict[str, list[str]]:
    """Names of the parameters by layer; what lies between two layers counts with the one before."""
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
