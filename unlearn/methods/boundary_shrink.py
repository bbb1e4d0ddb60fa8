"""Boundary shrink: relabel every image to forget as the class on the other side of the nearest boundary."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unlearn.registry import Salient, about, method
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Salient):
    unlearn_epochs: int = changed(Salient, "unlearn_epochs", 10, help="passes over the forget set")
    unlearn_lr: float = changed(Salient, "unlearn_lr", 1e-5, search=(1e-6, 1e-4, "log"))
    attack_radius: float = option(
        0.1, "how far the attack moves every pixel, of a range from 0 to 1", low=0, high=1, search=(0.01, 0.3, "log")
    )


@method(
    "boundary_shrink",
    config=Config,
    reads={"forget"},
    paper="BS",
    aliases=("BS",),
    tasks={"classification"},
    pixels=True,
)
@about("teach the forget set the nearest other class", source="Chen et al. 2023 (Boundary Unlearning)")
def boundary_shrink(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the cross-entropy on the forget set, labelled as the starting weights see attacked images.

    See ``neighbours`` for the attack.
    """
    from unlearn.distill import teacher_of

    start = teacher_of(model)

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        nearest = neighbours(start, batch.inputs, batch.targets, config.attack_radius, context.compat)
        return context.task.mean(model, replace(batch, targets=nearest))

    context.fit(model, sets.forget, config, objective)


def neighbours(model: nn.Module, images: Tensor, labels: Tensor, radius: float, compat: str) -> Tensor:
    """The most probable class, other than its own, of every image after one step of ``radius`` per pixel up its loss.

    With ``compat`` "reference" the attacked pixels are rounded to steps of 1/255, and an image that the
    step does not carry over a boundary keeps its class.

    Args:
        model: in eval mode.
        images: float [B, 3, H, W] in [0, 1].
        labels: true classes, int64 [B].
        radius: length of the step per pixel, on the scale of the images.
        compat: "fixed" or "reference".
    Returns:
        Classes, int64 [B].
    Source: Chen et al. 2023; the step is Goodfellow et al. 2015's.
    """
    import torch

    images = images.detach().requires_grad_()
    with torch.enable_grad():
        loss = torch.nn.functional.cross_entropy(model(images), labels, reduction="sum")
    attacked = (images + radius * torch.autograd.grad(loss, images)[0].sign()).detach().clamp(0, 1)
    with torch.no_grad():
        if compat == "reference":
            return model((attacked * 255).round() / 255).argmax(1)
        return model(attacked).scatter(1, labels[:, None], -torch.inf).argmax(1)
