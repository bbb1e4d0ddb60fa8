"""Fisher information of a diffusion model's weights, by which Selective Amnesia protects them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dataset.images import Images
from trainer.cpu_arithmetic import cpu_arithmetic
from trainer.task import Batch
from unlearn import curvature, saliency
from unlearn.context import Context

Tensors = dict[str, Tensor]
AT_ONCE = 50  # diffusion times whose losses are computed at once


def importance(model: nn.Module, images: Images, size: int, context: Context) -> Tensors:
    """Fisher information of the images' losses at all diffusion times, by parameter name.

    It is the mean over images and times of the squared gradients of single losses, multiplied by the number of times.
    With ``--compat reference`` each image's loss is summed over all times first (``of_sums``).

    Args:
        model: put into eval mode.
        size: with ``--compat reference``, images read at once.
    """
    model.eval()
    if context.compat == "fixed":
        importance = curvature.mean_squared_gradient(model, images.batches(saliency.AT_ONCE), {}, context.scored)
        steps = context.task.schedule.steps  # type: ignore[attr-defined]
        return {name: value * steps for name, value in importance.items()}
    random = torch.Generator().manual_seed(context.seed)

    def draw(batch: Batch) -> tuple[Tensor, Tensor | None]:
        batch = replace(batch, random=random)
        noise = batch.draw(torch.randn, batch.inputs.shape)
        return noise, context.task.keep(batch)  # type: ignore[attr-defined]

    return of_sums(model, images.batches(size), context.task, draw)


def noise_images(batch: Batch) -> tuple[Tensor, Tensor]:
    """Images of uniform noise in [0, 1], and normal noise to put on them, both of the shape of a batch's images."""
    return batch.draw(torch.rand, batch.inputs.shape), batch.draw(torch.randn, batch.inputs.shape)


def of_sums(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    task: Any,
    draw: Callable[[Batch], tuple[Tensor, Tensor | None]],
) -> Tensors:
    """Fisher information as the mean over images of the squared gradient of the loss, summed over all times.

    Args:
        model: in eval mode.
        batches: float images [B, C, H, W] in [0, 1] with classes, int64 [B].
        task: a diffusion task.
        draw: maps one image, repeated for all T times in a batch [T, C, H, W], to its noise, of this shape, and to
            where the class is kept as the condition, bool [T] or None for everywhere.
    Returns:
        Tensors by parameter name, in the parameters' shapes.
    Source: Heng and Soh 2023 (Selective Amnesia), section 4.1, and the code that SFR-on and SalUn take from it.
    """
    parameters, count = dict(model.named_parameters()), 0
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    with cpu_arithmetic(model):
        for images, classes in batches:
            for one in range(len(images)):
                squares = _of_one(model, images[one], classes[one], task, draw)
                torch._foreach_add_(list(total.values()), torch._foreach_pow(squares, 2))
                count += 1
    return {name: value / max(count, 1) for name, value in total.items()}


def _of_one(model: nn.Module, image: Tensor, label: Tensor, task: Any, draw: Callable) -> list[Tensor]:
    """Gradient of an image's losses, summed over all times."""
    steps, parameters = task.schedule.steps, list(model.parameters())
    repeated = Batch(image.expand(steps, *image.shape), label.expand(steps))
    noise, keep = draw(repeated)
    sums = [torch.zeros_like(value) for value in parameters]
    for times in torch.arange(steps, device=image.device).split(AT_ONCE):
        part = Batch(repeated.inputs[times], repeated.targets[times])
        losses = task.at(model, part, times, noise[times], None if keep is None else keep[times])
        gradients = torch.autograd.grad(losses.sum(), parameters, allow_unused=True, materialize_grads=True)
        torch._foreach_add_(sums, list(gradients))
    return sums
