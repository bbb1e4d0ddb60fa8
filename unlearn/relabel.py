"""Random labels for images that are to be forgotten."""
from __future__ import annotations

import torch
from torch import Tensor

from utils import seeds


def random_labels(labels: Tensor, classes: int, seed: int, exclude_true: bool = False) -> Tensor:
    """A class drawn uniformly for every image.

    Args:
        labels: true classes, int64 [N], on any device.
        classes: number of classes, at least 2 with ``exclude_true``.
        seed: fixes the draw, on every device alike.
        exclude_true: draw from the other classes only.
    Returns:
        int64 [N], on the device of ``labels``.
    Source: Golatkar et al. 2020; Graves et al. 2021 (with ``exclude_true``).
    """
    random = seeds.generator(seed, "random labels")
    if not exclude_true:
        return torch.randint(0, classes, labels.shape, generator=random).to(labels.device)
    shift = torch.randint(1, classes, labels.shape, generator=random).to(labels.device)
    return (labels + shift) % classes
