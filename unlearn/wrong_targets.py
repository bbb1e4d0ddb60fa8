"""Training on both sets, the forget set under other targets than its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dataset.combined import Chain, union
from dataset.images import Images
from unlearn.context import Context, Sets


def train(model: nn.Module, sets: Sets, config: Any, context: Context, wrong: Callable[[int], Tensor]) -> None:
    """Train on both sets, the forget set with targets ``wrong(epoch)``, int64 [n] in its order."""
    by_default = "joint" if context.compat == "fixed" or context.dataset.startswith("cifar100") else "alternate"
    both = union(sets.forget, sets.retain) if (config.order or by_default) == "joint" else None

    def images(epoch: int) -> Images | Chain:
        if both is not None:
            return both.relabelled(torch.cat([wrong(epoch), sets.retain.labels]))
        return Chain(sets.forget.relabelled(wrong(epoch)), sets.retain)

    context.fit(model, images, config)
