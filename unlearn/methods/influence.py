"""IU (``wfisher``): one step along the influence of the forget set, with the field's recursion for the inverse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from unlearn.registry import ALPHA, about, method
from unlearn.signature import Context, Sets, Tensor, nn
from utils.options import option

SCALE = 1000  # M of the recursion, which reads M + 2 samples


@dataclass(frozen=True)
class Config:
    alpha: float = option(1.0, "length of the step", common=ALPHA, low=0, search=(1e-3, 1e2, "log"))
    batch_size: int = option(
        256,
        "most images per gradient batch, fewer where 1 GiB (a GPU: a quarter) does not hold them; changes no result",
        low=1,
    )
    amp: bool = option(False, "forward passes in bfloat16")
    no_aug: bool = option(False, "with --compat reference: take gradients without crop and flip")


@method(
    "wfisher",
    config=Config,
    reads={"retain", "forget"},
    paper="IU",
    aliases=("IU", "influence"),
    tasks={"classification"},
)
@about(
    "influence unlearning: one step up the forget loss and down the retain loss",
    source="Jia et al. 2023, section 2 and released code; Izzo et al. 2021; Koh & Liang 2017",
)
def influence(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """theta + alpha * k, where k is ``influence_step``'s difference of mean gradients plus ``correction`` * g_0."""
    import torch

    from pruner import MaskEnforcer
    from unlearn import curvature
    from unlearn.slopes import AT_ONCE, slopes
    from utils.device import half

    batches = partial(context.in_order, no_aug=config.no_aug)
    model.eval()
    sample = curvature.single(batches(sets.retain, 1))
    size = curvature.images_at_once(model, sample[0][0][0], config.batch_size)
    with half(context.device, config.amp):
        step = curvature.influence_step(model, sets, lambda images: batches(images, size), context.mask)
        first = curvature.summed_gradient(model, sample, context.mask)
        samples = curvature.first_samples(batches(sets.retain, min(size, AT_ONCE)), SCALE + 2)
        along_step, along_first = slopes(model, samples, [step, first])
    factor = correction(along_step, along_first)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(config.alpha * (step[name] + factor * first[name]))
    MaskEnforcer(model, context.mask)


def correction(along_step: Tensor, along_first: Tensor) -> float:
    """The factor c in k = v + c * g_0 that the reference's recursion amounts to.

    With M = 1000, sigma_0 = 1 and, for samples t = 1, 2, ...:
        sigma_t = sigma_(t-1) + g_0.g_t / M,   k_t = k_(t-1) - k_(t-1).g_t / (M sigma_t) * g_0

    Args:
        along_step: v.g_t for t = 0, 1, ..., float64 [N], with g_t the gradient of sample t.
        along_first: g_0.g_t, float64 [N].
    """
    factor, sigma = 0.0, 1.0
    for v_g, g_g in zip(along_step.tolist()[1:], along_first.tolist()[1:]):
        sigma += g_g / SCALE
        factor -= (v_g + factor * g_g) / (SCALE * sigma)
    return factor
