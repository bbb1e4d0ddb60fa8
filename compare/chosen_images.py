"""Which images are placed on the map, and which are shown as pictures, where not all can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compare.answers import Answers
from compare.opening import evenly

MAPPED = {"pca": 10_000, "tsne": 2_000, "umap": 2_000}  # images of a map at most, in every model
FURTHER = 2_000  # further images that are shown as pictures
TENTH = ("retain", "val")  # sets that take a tenth of the map at most


def mapped(sizes: Mapping[str, int], kind: str) -> np.ndarray:
    """Rows of the images of the map, int64 ascending: those to forget and to test first, evenly over each set.

    Args:
        sizes: images by set, in the order of the rows.
        kind: of the map.
    """
    most = MAPPED[kind]
    if sum(sizes.values()) <= most:
        return np.arange(sum(sizes.values()))
    counts = {name: min(sizes[name], most // 10) for name in TENTH if name in sizes}
    left, others = most - sum(counts.values()), [name for name in sizes if name not in TENTH]
    total = sum(sizes[name] for name in others)
    counts |= {name: min(sizes[name], left * sizes[name] // max(total, 1)) for name in others}
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist()))
    return np.concatenate([starts[name] + evenly(sizes[name], counts[name]) for name in sizes])


def pictured(rows: np.ndarray, answers: Sequence[Answers]) -> np.ndarray:
    """Rows of the images with pictures, int64 ascending: those of the map, and where models differ most.

    Args:
        rows: of the map.
    """
    margins = np.stack([each.margin for each in answers])
    spread = margins.max(0) - margins.min(0)
    differing = (np.stack([each.predicted for each in answers]) != answers[0].predicted).any(0)
    spread = np.where(differing, spread, -1.0)
    spread[rows] = -1.0
    further = np.argsort(-spread, kind="stable")[: min(FURTHER, int((spread >= 0).sum()))]
    return np.union1d(rows, further)
