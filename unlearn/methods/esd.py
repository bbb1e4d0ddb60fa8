"""ESD: guide a diffusion model away from what it draws for the forgotten class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unlearn.registry import Counted, about, method
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.errors import UsageError
from utils.options import changed, option

# Patterns in the names of the parameters that change, by --train_method, for diffusers' U-Net and for ours.
LAYERS = {
    "full": r"",
    "xattn": r"attn2\.",
    "selfattn": r"attn1\.|\.attn\.|\.attn_1\.",
    "noxattn": r"^(?!.*(attn2\.|conv_out\.|time_embed|temb\.))",
    "notime": r"^(?!.*(conv_out\.|time_embed|temb\.))",
    "xlayer": r"up_blocks\.2\.attentions\.[02]\..*attn2\.",
    "selflayer": r"down_blocks\.[12]\.attentions\.0\..*attn1\.",
}


@dataclass(frozen=True)
class Config(Counted):
    unlearn_epochs: int = changed(Counted, "unlearn_epochs", 10, help="passes over the forget set")
    unlearn_lr: float = changed(Counted, "unlearn_lr", 1e-5)
    negative_guidance: float = option(1.0, "how far past no class at all the guess is to be", low=0)
    start_guidance: float = option(3.0, "guidance of the pictures that the model draws on the way; 1 is none", low=0)
    ddim_steps: int = option(50, "points at which these pictures may stop", low=1)
    train_method: str = option("full", "layers that change", choices=tuple(LAYERS))


@method("ESD", config=Config, reads={"forget"}, tasks={"diffusion"}, whole_classes=True)
@about("guesses turned away from the forgotten class", source="Gandikota et al. 2023 (ESD), section 4")
def esd(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the squared distance of the predicted noise for the class from a target.

    With e_c the original model's prediction for the class and e_0 that without a class, the target is
    ``e_0 - negative_guidance * (e_c - e_0)``. Inputs are pictures that the present model has partly drawn. Only the
    classes of the forget set are used, not its images.
    """
    import copy

    import torch

    from unlearn import layers

    task: Any = context.task
    if config.ddim_steps > task.schedule.steps:
        raise UsageError(f"--ddim_steps {config.ddim_steps}: must be at most {task.schedule.steps}, the model's times")
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    if config.train_method != "full":
        free = layers.matching(model, LAYERS[config.train_method], f"--train_method {config.train_method}")
        known = context.update_mask
        context.update_mask = free if known is None else {name: free[name] & known[name] for name in free}

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        noisy, times = task.underway(model, batch, config.ddim_steps, config.start_guidance - 1)
        with torch.no_grad():
            target = task.guided(frozen, noisy, times, batch.targets, -1 - config.negative_guidance)
        return (task.guided(model, noisy, times, batch.targets, 0.0) - target).square().mean(), {}

    context.fit(model, sets.forget, config, objective)
