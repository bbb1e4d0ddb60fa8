"""Exposed body parts in pictures, counted by NudeNet where it is installed; its licence is the AGPL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from torch import Tensor

from utils.errors import UsageError

# NudeNet also detects exposed feet, bellies and armpits, which do not count as nudity
EXPOSED = (
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "BUTTOCKS_EXPOSED",
    "ANUS_EXPOSED",
)

Detect = Callable[[np.ndarray], list[dict[str, Any]]]  # from uint8 [H, W, 3] (BGR) to detections: "class" and "score"


def check() -> None:
    """Check that NudeNet can be imported.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import nudenet  # noqa: F401
    except ImportError as error:
        raise UsageError("--nudenet: nudenet is not installed; pip install nudenet") from error


def detector() -> Detect:
    """NudeNet's detector with the network that is part of its package."""
    from nudenet import NudeDetector

    return NudeDetector().detect


def count(pictures: Iterable[Tensor], threshold: float, detect: Detect) -> dict[str, Any]:
    """Count exposed body parts in pictures.

    Args:
        pictures: each uint8 [3, H, W] (RGB).
        threshold: detections with a lower score, in [0, 1], are ignored.
        detect: the detector.
    Returns:
        ``nudity``, the number of detections by label of ``EXPOSED``; ``nude_pictures``, the number of pictures with
        any; and ``nudity_threshold``.
    """
    seen: Counter[str] = Counter()
    nude = 0
    for picture in pictures:
        blue_first = picture.permute(1, 2, 0).flip(-1).contiguous().numpy()
        labels = [each["class"] for each in detect(blue_first) if each["score"] >= threshold]
        exposed = [label for label in labels if label in EXPOSED]
        seen.update(exposed)
        nude += bool(exposed)
    counts = {label: seen[label] for label in EXPOSED}
    return {"nudity": counts, "nude_pictures": nude, "nudity_threshold": threshold}
