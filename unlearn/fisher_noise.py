"""Mean and variance of the noise of Fisher forgetting."""

from __future__ import annotations

from torch import Tensor, nn

import models
from trainer.task import Classification
from unlearn.context import Context
from unlearn.layers import parameter_names

# Sizes of whole classes, by which the reference recognises that a class is forgotten whole.
REFERENCE_CLASS_SIZES = {"cifar10": 4500, "cifar100": 450}


def wiped_rows(context: Context) -> list[int]:
    """Rows of the head that are set to zero: those of classes that are forgotten whole.

    ``--compat reference`` tells whole classes by the number of images only. So it wipes the last class (-1) if as many
    images are drawn from all classes.
    """
    if context.compat == "fixed":
        return list(context.whole_classes)
    name = context.dataset.removesuffix("_no_val")
    if context.scenario.count != REFERENCE_CLASS_SIZES.get(name):
        return []
    if context.scenario.subclass:
        return []
    return [-1] if context.scenario.labels is None else list(context.scenario.labels)


def noise(
    model: nn.Module, curvature: dict[str, Tensor], alpha: float, rows: list[int], context: Context
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Mean and variance of the new weights, by parameter name, before anything is drawn.

    The variance is ``alpha / curvature``, capped at ``alpha * 1e3`` (head: ``alpha * 1e2``), averaged over the inputs
    of each output, and multiplied by ten for the head and for vectors. ``rows`` of the head get mean 0 and variance
    1e-3. Pruned weights are left out of the average. With ``--compat reference`` they enter it with the cap, and every
    tensor with as many rows as classes is taken for one of the head.

    Args:
        curvature: tensors by parameter name, in the parameters' shapes.
        rows: rows of the head, see ``wiped_rows``.
    Returns:
        Mean and variance, in the parameters' shapes.
    Source: Jia et al. 2023, released code; Golatkar et al. 2020, section 6.
    """
    mean, variance, heads = {}, {}, head_parameters(model, context, context.compat)
    for name, parameter in model.named_parameters():
        head = name in heads
        spread = (1.0 / (curvature[name] + 1e-8)).clamp(max=1e2 if head else 1e3) * alpha
        if parameter.ndim > 1:
            mask = context.mask.get(name) if context.compat == "fixed" else None
            spread = _mean_over_inputs(spread, mask).expand_as(spread).clone()
        centre = parameter.detach().clone()
        if head:
            centre[rows] = 0
            spread[rows] = 1e-4
        if head or parameter.ndim == 1:
            spread = spread * 10
        mean[name], variance[name] = centre, spread
    return mean, variance


def head_parameters(model: nn.Module, context: Context, compat: str) -> set[str]:
    """Full names of the head's weight and bias; with ``compat`` "reference", of all tensors with a row per class.

    Empty for tasks other than classification, which have no layer with a row for each target.
    """
    if not isinstance(context.task, Classification):
        return set()
    if compat == "reference":
        return {name for name, parameter in model.named_parameters() if parameter.shape[0] == context.classes}
    name, layer = models.named_head(model)
    return set(parameter_names({name: layer}))


def _mean_over_inputs(spread: Tensor, kept: Tensor | None) -> Tensor:
    if kept is None:
        return spread.mean(dim=1, keepdim=True)
    kept = kept.to(spread)
    return (spread * kept).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp(min=1)
