"""fisher: the diagonal Fisher noise of the released code's first version, from single images."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.registry import ALPHA, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import option

LARGEST = 1e-3  # largest standard deviation of the noise, before the head's factor
HEAD_FACTOR = 10


@dataclass(frozen=True)
class Config:
    alpha: float = option(1e-6, "scale of the noise variance", common=ALPHA, low=0, search=(1e-9, 1e-6, "log"))
    no_aug: bool = option(False, "with --compat reference: estimate curvature without crop and flip")


@method("fisher", config=Config, reads={"retain"}, paper="Fisher")
@about(
    "noise scaled by the inverse curvature of single retain images",
    source="Golatkar et al. 2020; Jia et al. 2023, released code",
)
def fisher(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """theta + min(sqrt(alpha / F), 1e-3) * noise, ten times that for the head.

    F is the mean over retain images of (1e-8 - gradient of the loss) ** 2. With ``--compat reference`` the factor ten
    is for all tensors whose last dimension is 10.
    """
    import torch

    from pruner import MaskEnforcer
    from unlearn.curvature import mean_squared_gradient
    from unlearn.fisher_noise import head_parameters
    from utils import seeds

    model.eval()
    batches = context.in_order(sets.retain, 64, config.no_aug)
    curvature = mean_squared_gradient(model, batches, context.mask, context.losses)
    random, heads = seeds.generator(context.seed, "fisher noise"), head_parameters(model, context, "fixed")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = (config.alpha / curvature[name].clamp(min=1e-30)).sqrt().clamp(max=LARGEST)
            wide = parameter.shape[-1] == 10 if context.compat == "reference" else name in heads
            draw = torch.randn(parameter.shape, generator=random).to(parameter.device)
            parameter.add_(spread * draw * (HEAD_FACTOR if wide else 1))
    MaskEnforcer(model, context.mask)
