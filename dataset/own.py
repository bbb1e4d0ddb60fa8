"""Image sets from any map-style data set, such as torchvision's or a ``TensorDataset``."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dataset.images import Augment, ImageSet
from utils.errors import UsageError

AT_ONCE = 64  # images that a worker hands over together


def read(samples: Any, name: str, device: torch.device, augment: Augment | None = None, workers: int = 0) -> ImageSet:
    """Read every sample once into memory, in order.

    Args:
        samples: a map-style data set of pairs of an image and its class. Images are PIL images or uint8 tensors
            [C, H, W], which batches scale to [0, 1], or float tensors [C, H, W], which stay as they are. Classes are
            whole numbers from 0.
        name: name of the set, for errors.
        device: where images and labels are put.
        augment: how training augments the images; None for not at all.
        workers: number of processes that read.
    Raises:
        UsageError: the data set is empty or not map-style, or a sample is of another kind, or of another shape or type
            than the first.
    """
    if not hasattr(samples, "__len__") or not hasattr(samples, "__getitem__"):
        raise UsageError(f"{name}: must be a map-style data set, with a length and samples by number")
    if not len(samples):
        raise UsageError(f"{name}: has no images")
    images, labels = torch.empty(0), torch.empty(len(samples), dtype=torch.int64)
    for number, sample in enumerate(_samples(samples, workers)):
        place = f"{name}: sample {number}"
        image, labels[number] = _checked(sample, place)
        if not number:
            shape = (len(samples), *image.shape)
            images = torch.empty(shape, dtype=image.dtype, memory_format=torch.channels_last)
        if (image.shape, image.dtype) != (images.shape[1:], images.dtype):
            raise UsageError(
                f"{place}: is {_words(image)}, and the first is {_words(images[0])}; a transform must make them alike"
            )
        images[number] = image
    return ImageSet(images.to(device), labels.to(device), augment=augment)


def _samples(samples: Any, workers: int) -> Iterator[Any]:
    """All samples in order, without drawing from torch's global generator."""
    loader = DataLoader(
        samples, AT_ONCE, num_workers=workers, collate_fn=list, generator=torch.Generator(), shuffle=False
    )
    for batch in loader:
        yield from batch


def _checked(sample: Any, place: str) -> tuple[Tensor, int]:
    """Image, uint8 or float32 [C, H, W], and class of a sample; UsageError if it is of another kind."""
    if not isinstance(sample, (tuple, list)) or len(sample) != 2:
        raise UsageError(f"{place}: must be a pair of an image and its class, not {type(sample).__name__}")
    image, label = sample
    if not isinstance(image, Tensor) and hasattr(image, "getbands"):  # PIL's
        from torchvision.transforms.functional import pil_to_tensor

        image = pil_to_tensor(image)
    if (
        not isinstance(image, Tensor)
        or image.ndim != 3
        or not (image.dtype == torch.uint8 or image.is_floating_point())
    ):
        raise UsageError(f"{place}: must have a PIL image or a uint8 or float tensor [C, H, W], not {_words(image)}")
    label = label.item() if hasattr(label, "item") and getattr(label, "ndim", 0) == 0 else label
    if not isinstance(label, numbers.Integral) or label < 0:
        raise UsageError(f"{place}: must have a class, a whole number from 0, not {label!r}")
    return image if image.dtype == torch.uint8 else image.float(), int(label)


def _words(image: Any) -> str:
    return f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
