"""The model's outputs on every set, each image seen once."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset.images import ImageSet

BATCH = 128  # small batches stay in the processor's cache


@dataclass(frozen=True)
class Predictions:
    """Outputs on one set, in the set's order, on the CPU.

    Attributes:
        logits: float32 [N, C].
        labels: int64 [N].
    """

    logits: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> "Predictions":
        return Predictions(self.logits[part], self.labels[part])

    @property
    def probs(self) -> Tensor:
        """Softmax outputs, float32 [N, C]."""
        return F.softmax(self.logits, dim=1)

    @property
    def accuracy(self) -> float:
        """Fraction of images whose largest logit is the true class, in [0, 1]; NaN for no images."""
        return float((self.logits.argmax(1) == self.labels).double().mean())


@torch.inference_mode()
def predict(model: nn.Module, sets: Mapping[str, ImageSet]) -> dict[str, Predictions]:
    """Run ``model`` in eval mode over all sets; an image that is in several is seen once.

    Returns:
        Predictions by the names in ``sets``.
    """
    model.eval()
    sources: dict[int, list[str]] = {}
    for name, images in sets.items():
        sources.setdefault(id(images.images), []).append(name)
    found = {}
    for members in sources.values():
        every = torch.cat([sets[name].indices for name in members])
        unique, position = torch.unique(every, return_inverse=True)
        view = ImageSet(sets[members[0]].images, sets[members[0]]._labels, unique)
        logits = torch.cat([model(images) for images, _ in view.batches(BATCH)]).float().cpu()
        for name, rows in zip(members, position.cpu().split([len(sets[name]) for name in members])):
            found[name] = Predictions(logits[rows], sets[name].labels.cpu())
    return {name: found[name] for name in sets}


@torch.inference_mode()
def accuracy_on(model: nn.Module, images: ImageSet, augment_seed: int | None = None) -> float:
    """Accuracy in [0, 1] on one set, in eval mode; on cropped and flipped images if a seed is given."""
    model.eval()
    batches = images.batches(BATCH) if augment_seed is None else images.augmented_in_order(BATCH, augment_seed)
    return float(sum((model(batch).argmax(1) == labels).sum() for batch, labels in batches)) / max(len(images), 1)
