"""Masks: score weights, choose which to keep, hold the pruned ones at zero.

A mask is plain data: a ``dict`` from parameter name to a boolean tensor of the parameter's shape,
True where the weight is kept. ``density`` is the fraction kept, ``sparsity`` the fraction pruned.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.parts import head
from utils import seeds
from utils.errors import RunError

Mask = dict[str, Tensor]
Scores = dict[str, Tensor]


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of all convolutions, by name, in module order (stem and 1x1 shortcuts included).

    Where linear layers other than the head outweigh the convolutions, as in transformers, it is the
    weights of these, attention's packed ``in_proj_weight`` included. Norms, biases, embeddings and
    the classifier are never pruned (Jia et al. 2023, section 3).
    """
    convolutions: dict[str, nn.Parameter] = {}
    linears: dict[str, nn.Parameter] = {}
    classifier = head(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            convolutions[f"{name}.weight"] = module.weight
        elif isinstance(module, nn.Linear) and module is not classifier:
            linears[f"{name}.weight"] = module.weight
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            linears[f"{name}.in_proj_weight"] = module.in_proj_weight
    return convolutions if _count(convolutions) >= _count(linears) else linears


def _count(parameters: dict[str, nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())


def magnitude(model: nn.Module, seed: int = 0) -> Scores:
    """Score of a weight = its absolute value ("global l1"; Han et al. 2015). Ignores ``seed``."""
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}


def uniform(model: nn.Module, seed: int = 0) -> Scores:
    """Score of a weight = a uniform random number drawn from ``seed``: random pruning."""
    random = seeds.generator(seed, "random pruning")
    return {name: torch.rand(weight.shape, generator=random) for name, weight in prunable(model).items()}


def choose(scores: Scores, rate: float, mask: Mask | None = None) -> Mask:
    """Prune the lowest-scoring fraction of the weights that are still kept, globally.

    Args:
        scores: one float tensor per prunable parameter.
        rate: fraction of the remaining weights to prune, in [0, 1).
        mask: what is kept so far; everything if None. The result only shrinks it.
    Returns:
        A new mask from which exactly ``round(rate * kept)`` further weights are gone (Python's
        rounding). Among equal scores those that come first in module order are pruned.
    """
    flat = torch.cat([value.flatten().cpu() for value in scores.values()])
    kept = torch.ones(flat.numel(), dtype=torch.bool)
    if mask:
        kept = torch.cat([mask[name].flatten().cpu() for name in scores])
    flat = torch.where(kept, flat, torch.inf)
    count = round(rate * int(kept.sum()))
    if count > 0:
        threshold = torch.kthvalue(flat, count).values
        below = flat < threshold
        ties = torch.nonzero((flat == threshold) & kept).flatten()[: count - int(below.sum())]
        kept &= ~below
        kept[ties] = False
    sizes = [value.numel() for value in scores.values()]
    return {name: part.view(scores[name].shape) for name, part in zip(scores, kept.split(sizes))}


def density(mask: Mask) -> float:
    """Fraction of the prunable weights that are kept, in [0, 1]; 1 for an empty mask."""
    total = sum(m.numel() for m in mask.values())
    return sum(int(m.sum()) for m in mask.values()) / total if total else 1.0


def sparsity(mask: Mask) -> float:
    """Fraction of the prunable weights that are pruned, in [0, 1]; 0 for an empty mask."""
    return 1.0 - density(mask)


def empty_layers(mask: Mask) -> list[str]:
    """Names of the parameters that lost every weight: nothing passes such a layer."""
    return [name for name, m in mask.items() if not bool(m.any())]


class Hold:
    """Keeps the pruned weights of one model at exactly zero.

    A deep copy of the model is not held; whoever copies makes a new ``Hold``.

    Args:
        model: the model, whose pruned weights become zero at once.
        mask: by parameter name; may be empty.
    """

    def __init__(self, model: nn.Module, mask: Mask):
        parameters = dict(model.named_parameters())
        self._weights = [parameters[name] for name in mask]
        self._keep = [
            m.to(device=w.device, dtype=w.dtype).contiguous(memory_format=_layout(w))
            for w, m in zip(self._weights, mask.values())
        ]
        self()

    @torch.no_grad()
    def __call__(self) -> None:
        """Multiply every pruned weight by zero; call it after each change of the weights."""
        if self._weights:
            torch._foreach_mul_(self._weights, self._keep)


def _layout(weight: Tensor) -> torch.memory_format:
    last = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def check_held(model: nn.Module, mask: Mask, who: str) -> None:
    """Raise if any pruned weight is not exactly zero.

    Raises:
        RunError: names ``who``, the first such parameter and how many of its weights came back.
    """
    parameters = dict(model.named_parameters())
    for name, kept in mask.items():
        revived = int(torch.count_nonzero(parameters[name].detach()[~kept.to(parameters[name].device)]))
        if revived:
            raise RunError(f"{who} revived {revived} pruned weights of {name}")


SCORES: dict[str, Callable[..., Scores]] = {"magnitude": magnitude, "random": uniform}
