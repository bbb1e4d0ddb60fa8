"""FF (``fisher_new``): add noise to every weight, the more the less the retain loss depends on it."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.registry import ALPHA, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import option


@dataclass(frozen=True)
class Config:
    alpha: float = option(3e-8, "scale of the noise variance", common=ALPHA, low=0, search=(1e-9, 1.0, "log"))
    fisher_batch_size: int = option(
        32, "images per curvature batch; the estimate depends on it", low=1, search=[32, 64, 128, 256]
    )
    amp: bool = option(False, "forward passes in bfloat16")
    keep_rows: bool = option(False, "leave the head's rows of forgotten classes as they are")
    no_aug: bool = option(False, "with --compat reference: estimate curvature without crop and flip")


@method("fisher_new", config=Config, reads={"retain"}, paper="FF", aliases=("FF",))
@about(
    "Fisher forgetting: noise scaled by the inverse curvature of the retain loss",
    source="Golatkar et al. 2020; Jia et al. 2023, section 2",
)
def fisher_forgetting(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Add Gaussian noise whose variance per weight is alpha over the curvature on the retain set, see ``noise``."""
    import torch

    from pruner import MaskEnforcer
    from unlearn.curvature import fisher_of_batches
    from unlearn.fisher_noise import noise, wiped_rows
    from utils.device import half

    model.eval()
    batches = context.in_order(sets.retain, config.fisher_batch_size, config.no_aug)
    with half(context.device, config.amp):
        curvature = fisher_of_batches(model, batches, context.mask, context.expected)
    rows = [] if config.keep_rows else wiped_rows(context)
    mean, variance = noise(model, curvature, config.alpha, rows, context)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = context.draws.normal(name, parameter, "fisher noise")
            parameter.copy_(mean[name] + variance[name].sqrt() * draw)
    MaskEnforcer(model, context.mask)
