"""Wrong labels for the images to forget."""

from __future__ import annotations

import torch
from torch import Tensor

from utils import seeds


def random_labels(labels: Tensor, classes: int, seed: int, exclude_true: bool = False) -> Tensor:
    """A label for every image, drawn uniformly from all classes.

    Args:
        labels: true classes, int64 [N].
        exclude_true: draw from the other classes only.
    Returns:
        int64 [N], on the device of ``labels``.
    """
    random = seeds.generator(seed, "random labels")
    if exclude_true:
        return (labels + torch.randint(1, classes, labels.shape, generator=random).to(labels.device)) % classes
    return torch.randint(classes, labels.shape, generator=random).to(labels.device)
