"""wfisher_exact: influence unlearning with the exact inverse that WoodFisher's recursion computes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from unlearn.registry import ALPHA, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import option


@dataclass(frozen=True)
class Config:
    alpha: float = option(1.0, "length of the step", common=ALPHA, low=0, search=(1e-3, 1e2, "log"))
    batch_size: int = option(256, "images per gradient batch; changes memory, not the result", low=1)
    fisher_samples: int = option(1000, "retain images that make the Fisher matrix", low=1)
    damping: float = option(1.0, "multiple of the identity that the Fisher matrix starts from", above=0)
    no_aug: bool = option(False, "with --compat reference: take gradients without crop and flip")


@method(
    "wfisher_exact",
    config=Config,
    reads={"retain", "forget"},
    paper="IU (exact)",
    aliases=("IU_exact",),
    tasks={"classification"},
)
@about(
    "influence unlearning with WoodFisher's inverse in full",
    source="Jia et al. 2023, section 2; Singh & Alistarh 2020, section 3",
)
def influence_exact(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """theta + alpha * F^-1 v, where v is ``wfisher``'s difference of mean gradients.

    F = damping * I + 1/N sum g_n g_n' over the gradients g_n of N retain images. WoodFisher inverts it image by image.
    Here Woodbury's identity does so at once, with G the [N, P] gradients:
        F^-1 v = (v - G' (damping * N * I + G G')^-1 G v) / damping
    """
    import torch

    from pruner import MaskEnforcer
    from unlearn import curvature

    batches = partial(context.in_order, no_aug=config.no_aug)
    model.eval()
    step = curvature.influence_step(model, sets, lambda images: batches(images, config.batch_size), context.mask)
    samples = sets.retain.first(config.fisher_samples)
    products, along = curvature.gram(model, lambda: batches(samples, 32), step, context.mask)
    system = products + config.damping * len(samples) * torch.eye(len(samples), dtype=torch.float64)
    weights = torch.linalg.solve(system, along)
    back = curvature.weighted_gradient(model, batches(samples, config.batch_size), weights, context.mask)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(config.alpha * (step[name] - back[name]) / config.damping)
    MaskEnforcer(model, context.mask)
