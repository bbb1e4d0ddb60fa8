"""UNSIR's images of noise with a high loss for a class to forget, one batch for each such class."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset.images import Images, ImageSet
from trainer.task import Batch, Figures, Objective
from unlearn.context import Context

STEPS, STEPS_OF_SUBCLASS = 25, 250  # steps of learning noise, as in SUPREME
Noise = list[tuple[int, Tensor]]  # pairs of the class as which noise is labelled, and the noise, float [N, 3, H, W]


def learn(model: nn.Module, like: Images, config: Any, context: Context) -> tuple[Noise, list[Tensor | None]]:
    """Noise for every class or subclass that is forgotten whole, and the gradients that learning it leaves.

    The model's weights do not change, but in train mode the statistics of its batch norms do.

    Args:
        model: takes normalised images (``normalised_input``).
        like: any set, for the shape of its images.
        config: hyper-parameters of UNSIR.
    Returns:
        The noise, and gradients in the order of the model's parameters, None for parameters without.
    Source: Tarun et al. 2021 (UNSIR), section IV-A.
    """
    model.train((config.noise_mode or ("eval" if context.compat == "fixed" else "train")) == "train")
    model.zero_grad(set_to_none=True)
    empty, noises = next(like.batches(1))[0].expand(config.noise_images, -1, -1, -1), []
    own = STEPS if context.subclasses is None else STEPS_OF_SUBCLASS
    steps = own if config.noise_steps is None else config.noise_steps
    for group, label in context.whole.items():
        noise = context.draws.normal("noise", empty, "unsir", group).requires_grad_()
        labels = torch.full((len(noise),), label, device=context.device)
        optimizer = torch.optim.Adam([noise], lr=config.noise_lr)
        for _ in range(steps):
            loss = config.noise_penalty * noise.square().flatten(1).sum(1).mean()
            loss = loss - F.cross_entropy(model(noise), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        noises.append((label, noise.detach()))
    stale = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    return noises, stale


def repeated(noise: Noise, used: int, copies: int) -> ImageSet:
    """A set of the first ``used`` images of each class's noise, ``copies`` times each, labelled as that class."""
    images = torch.cat([each[:used].repeat(copies, 1, 1, 1) for _, each in noise])
    labels = [torch.full((min(used, len(each)) * copies,), label) for label, each in noise]
    return ImageSet(images, torch.cat(labels).to(images.device))


def first_of_others(images: Images, count: int, context: Context, normalise: nn.Module) -> Images:
    """The first ``count`` images of every class or subclass that is not forgotten, normalised, by ascending class.

    They are shuffled and augmented like ``images``.
    """
    labels, groups = images.labels, context.groups(images)
    others = [group for group in groups.unique().tolist() if group not in context.whole]
    rows = torch.cat([(groups == group).nonzero()[:count, 0] for group in others])
    pixels = torch.cat([batch for batch, _ in images.plain().first(len(rows), rows).batches(256)])
    some = ImageSet(normalise(pixels), labels[rows], augment=images.augment)
    return some if images.shuffle else some.in_order()


def with_gradients(objective: Objective, gradients: list[Tensor | None], memory: dict[str, Any]) -> Objective:
    """``objective``, with ``gradients`` added to those of the first step.

    Args:
        gradients: tensors in the order of the model's parameters, None for none.
        memory: ``Context.memory``, which records that the first step was taken, for a run that goes on after a kill.
    """

    def first(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        loss, figures = objective(model, batch)
        if not memory.get("joined"):
            memory["joined"] = True
            pairs = zip(model.parameters(), gradients)
            added = torch.stack([(parameter * each).sum() for parameter, each in pairs if each is not None]).sum()
            loss = loss + added - added.detach()
        return loss, figures

    return first
