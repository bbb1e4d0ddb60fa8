"""FF (``fisher_new``): blur every weight by as much as the retain set does not mind."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn.registry import method
from utils.options import option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pruner import Mask
    from unlearn.context import Context, Sets

# Whole classes that the reference recognises by their number of images.
REFERENCE_CLASS_SIZES = {"cifar10": 4500, "cifar100": 450}


@dataclass(frozen=True)
class Config:
    alpha: float = option(3e-8, "scale of the noise variance", low=0, search=(1e-9, 1.0, "log"))
    fisher_batch_size: int = option(32, "images per curvature batch; the estimate depends on it", low=1)
    amp: bool = option(False, "forward passes in bfloat16")
    keep_rows: bool = option(False, "leave the head's rows of forgotten classes as they are")
    no_aug: bool = option(False, "with --compat reference: estimate curvature without crop and flip")


@method(
    "fisher_new",
    config=Config,
    reads={"retain"},
    summary="Fisher forgetting: noise scaled by the inverse curvature of the retain loss",
    paper="FF",
    source="Golatkar et al. 2020; Jia et al. 2023, section 2",
    aliases=("FF",),
    presets={"deepunlearn": {"alpha": 0.2, "fisher_batch_size": 64, "keep_rows": True, "no_aug": True}},
)
def fisher_forgetting(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Add Gaussian noise whose variance per weight is alpha over the curvature on the retain set."""
    import torch

    from pruner import Hold
    from unlearn.curvature import fisher_of_batches
    from utils.device import half

    model.eval()
    batches = context.in_order(sets.retain, config.fisher_batch_size, config.no_aug)
    with half(context.device, config.amp):
        curvature = fisher_of_batches(model, batches, context.mask)
    rows = [] if config.keep_rows else wiped_rows(context)
    mean, variance = noise(model, curvature, context.mask, config.alpha, context.classes, rows, context.compat)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = context.draws.normal(name, parameter, "fisher noise")
            parameter.copy_(mean[name] + variance[name].sqrt() * draw)
    Hold(model, context.mask)


def wiped_rows(context: Context) -> list[int]:
    """The head's rows that are set to zero: wholly forgotten classes.

    ``--compat reference`` goes by the number of images alone, and so wipes the last class (-1)
    when that number of images is drawn from all classes.
    """
    if context.compat == "fixed":
        return list(context.whole_classes)
    name = context.dataset.removesuffix("_no_val")
    if context.scenario.count != REFERENCE_CLASS_SIZES.get(name):
        return []
    return [-1] if context.scenario.labels is None else list(context.scenario.labels)


def noise(
    model: nn.Module,
    curvature: dict[str, Tensor],
    mask: Mask,
    alpha: float,
    classes: int,
    rows: list[int],
    compat: str,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Mean and variance of the new weights, by parameter name, before anything is drawn.

    The variance is ``alpha / curvature``, capped at ``alpha * 1e3`` (head: ``1e2``), averaged over
    the inputs of each output, times ten for the head and for vectors. ``rows`` of the head get
    mean 0 and variance 1e-3. Pruned weights are left out of the average; with ``compat``
    "reference" they enter it at the cap.

    Source: Jia et al. 2023, released code; Golatkar et al. 2020, section 6.
    """
    mean, variance = {}, {}
    for name, parameter in model.named_parameters():
        head = parameter.shape[0] == classes
        spread = (1.0 / (curvature[name] + 1e-8)).clamp(max=1e2 if head else 1e3) * alpha
        if parameter.ndim > 1:
            spread = _mean_over_inputs(spread, mask.get(name) if compat == "fixed" else None).expand_as(spread).clone()
        centre = parameter.detach().clone()
        if head:
            centre[rows] = 0
            spread[rows] = 1e-4
        if head or parameter.ndim == 1:
            spread = spread * 10
        mean[name], variance[name] = centre, spread
    return mean, variance


def _mean_over_inputs(spread: Tensor, kept: Tensor | None) -> Tensor:
    if kept is None:
        return spread.mean(dim=1, keepdim=True)
    kept = kept.to(spread)
    return (spread * kept).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp(min=1)
