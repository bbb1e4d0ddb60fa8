"""The model's outputs on every set, each image seen once."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from dataset.images import Images
from utils import memory, parallel
from utils.device import free_memory
from utils.errors import DivergedError

PIXELS = 2**16  # in a batch on the CPU: 64 small images; more leave its cache, fewer do not occupy its cores
FEWEST, BATCH = 8, 1024  # images in a batch: at least, and at most
PER_PIXEL = 2**10  # bytes of a GPU's memory per pixel of an image: four times 64 float32 maps of its size


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

    def __getitem__(self, part: slice) -> Predictions:
        return Predictions(self.logits[part], self.labels[part])

    @property
    def probs(self) -> Tensor:
        """Softmax outputs, float32 [N, C]."""
        return F.softmax(self.logits, dim=1)

    @property
    def accuracy(self) -> float:
        """Fraction of images whose largest logit is the true class, in [0, 1]; NaN for no images."""
        return float((self.logits.argmax(1) == self.labels).double().mean())


def predict(model: nn.Module, sets: Mapping[str, Images]) -> dict[str, Predictions]:
    """Run ``model`` in eval mode over all sets; an image that is in several is seen once.

    Returns:
        Predictions by the names in ``sets``.
    Raises:
        DivergedError: an output is NaN or infinite; no score would mean anything.
    """
    return predict_all([model], sets)[0]


@torch.inference_mode()
def predict_all(models: Sequence[nn.Module], sets: Mapping[str, Images]) -> list[dict[str, Predictions]]:
    """``predict`` for several models in one pass over the images; predictions by set for each model."""
    ready = [_for_inference(model) for model in models]
    sources: dict[int, list[str]] = {}
    for name, images in sets.items():
        sources.setdefault(id(images.source), []).append(name)
    predictions: list[dict[str, Predictions]] = [{} for _ in models]
    for members in sources.values():
        every = torch.cat([sets[name].indices for name in members])
        unique, position = torch.unique(every, return_inverse=True)
        mine = sets[members[0]].at(unique[parallel.part(len(unique))])
        outputs = memory.as_many_as_fit(functools.partial(_logits, ready, mine), at_once(mine))
        rows = position.cpu().split([len(sets[name]) for name in members])
        for own, part in zip(predictions, outputs):
            logits = parallel.gather(part, len(unique))
            _check_finite(logits, members)
            own |= {name: Predictions(logits[index], sets[name].labels.cpu()) for name, index in zip(members, rows)}
    return [{name: own[name] for name in sets} for own in predictions]


def _check_finite(logits: Tensor, sets: list[str]) -> None:
    lost = int((~logits.isfinite().all(1)).sum())
    if lost:
        text = f"NaN or infinite for {lost:,} of {len(logits):,} images ({', '.join(sets)}); its weights are too large"
        raise DivergedError(f"the model's outputs are {text}")


def _logits(models: Sequence[nn.Module], images: Images, size: int) -> list[Tensor]:
    """Each model's outputs on all images, ``size`` at a time: float32 [N, C] on the CPU."""
    outputs = [[model(batch).float().cpu() for model in models] for batch, _ in images.batches(size)]
    return [torch.cat(parts) for parts in zip(*outputs)]


def at_once(images: Images) -> int:
    """Batch size without a backward pass: what half of a GPU's free memory holds, or what suits a CPU's cache."""
    if images.device.type == "mps":
        return BATCH
    free = free_memory(images.device)
    pixels = PIXELS if free is None else free // 2 // PER_PIXEL
    return min(BATCH, max(FEWEST, pixels // images.pixels))


def _for_inference(model: nn.Module) -> nn.Module:
    """A copy in eval mode, batch norm folded into convolutions where the model can be traced."""
    model.eval()
    try:
        return fuse(model)
    except Exception:  # noqa: BLE001  (a forward pass that depends on values can fail in any way when traced)
        return copy.deepcopy(model)


@torch.inference_mode()
def accuracy_on(model: nn.Module, images: Images, augment_seed: int | None = None, name: str = "validation") -> float:
    """Accuracy in [0, 1] on one set, in eval mode; 0 on an empty set.

    Args:
        augment_seed: seed for randomly cropping and flipping the images; None leaves them as they are.
        name: name of the set, for the error message.
    Raises:
        DivergedError: an output is NaN or infinite.
    """
    model.eval()
    mine = images.at(images.indices[parallel.part(len(images))]) if augment_seed is None else images
    figures = memory.as_many_as_fit(functools.partial(_figures, model, mine, augment_seed), at_once(images))
    right, lost = (parallel.add_up(figures) if len(mine) < len(images) else figures).tolist()
    if lost:
        reason = f"model's outputs became NaN or infinite for {lost:,.0f} of {len(images):,} {name} images"
        raise DivergedError(f"the {reason}")
    return right / max(len(images), 1)


def _figures(model: nn.Module, images: Images, augment_seed: int | None, size: int) -> Tensor:
    """Number of right answers, and number of images with NaN or infinite outputs: float32 [2] on the device."""
    batches = images.batches(size) if augment_seed is None else images.augmented_in_order(size, augment_seed)
    figures = torch.zeros(2, device=images.device)
    for batch, labels in batches:
        logits = model(batch)
        figures += torch.stack([(logits.argmax(1) == labels).sum(), (~logits.isfinite().all(1)).sum()])
    return figures
