"""Boundary expanding: move the images to forget into a new class, which is then removed."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.registry import Salient, about, method
from unlearn.signature import Context, Sets, Tensor, nn
from utils.options import changed


@dataclass(frozen=True)
class Config(Salient):
    unlearn_epochs: int = changed(Salient, "unlearn_epochs", 10, help="passes over the forget set")
    unlearn_lr: float = changed(Salient, "unlearn_lr", 1e-5, search=(1e-6, 1e-4, "log"))


@method("boundary_expanding", config=Config, reads={"forget"}, paper="BE", aliases=("BE",), tasks={"classification"})
@about(
    "teach the forget set a new class and remove it from the model again",
    source="Chen et al. 2023 (Boundary Unlearning)",
)
def boundary_expanding(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the cross-entropy on the forget set, labelled as a new class, and then remove the output of that class.

    With ``--compat reference`` the model keeps that output and is scored with it.
    """
    import torch

    import models
    from utils import seeds

    _, head = models.named_head(model)
    random = seeds.generator(context.seed, "new class")
    bound = head.in_features**-0.5  # that of torch's initial weights of a linear layer
    row, bias = ((2 * torch.rand(shape, generator=random) - 1) * bound for shape in ((1, head.in_features), (1,)))
    expand(model, sets, config, context, row, bias)
    if context.compat == "fixed":
        models.keep_classes(model, context.classes)


def expand(model: nn.Module, sets: Sets, config: Config, context: Context, row: Tensor, bias: Tensor) -> None:
    """Add a new class with weights ``row``, float [1, features], and ``bias``, float [1], and train it; in place."""
    import torch

    import models

    models.add_class(model, row, bias)
    labels = torch.full_like(sets.forget.labels, context.classes)
    mask = context.update_mask
    if mask is not None:  # the weights of the new class have no saliency and may change
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        grown = {name: torch.ones(shapes[name], dtype=torch.bool) for name in mask if mask[name].shape != shapes[name]}
        for name, free in grown.items():
            free[: context.classes] = mask[name]
        context.update_mask = mask | grown
    context.fit(model, sets.forget.relabelled(labels), config)
    context.update_mask = mask
