"""Chooses the images on the map and those shown as pictures, where there are too many for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compare.answers import Answers
from compare.opening import evenly

MAPPED = {"pca": 10_000, "tsne": 2_000, "umap": 2_000}  # most images on a map, per model
FURTHER = 2_000  # most images shown as pictures beyond those on the map
TENTH = ("retain", "val")  # sets that get at most a tenth of the map each


def mapped(sizes: Mapping[str, int], kind: str) -> np.ndarray:
    """Rows of the images on the map, int64 [P] ascending, taken at equal distances from each set.

    Retained and validation images get at most a tenth of the map each, the other sets share the rest.

    Args:
        sizes: numbers of images by set, in the order of the rows.
        kind: of the map, a key of ``MAPPED``.
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
    """Rows of the images shown as pictures, int64 ascending: those on the map, and those on which models differ most.

    The latter are images with differing predictions, by the range of their margins over the models.

    Args:
        rows: of the images on the map.
        answers: of each model.
    """
    margins = np.stack([each.margin for each in answers])
    spread = margins.max(0) - margins.min(0)
    differing = (np.stack([each.predicted for each in answers]) != answers[0].predicted).any(0)
    spread = np.where(differing, spread, -1.0)
    spread[rows] = -1.0
    further = np.argsort(-spread, kind="stable")[: min(FURTHER, int((spread >= 0).sum()))]
    return np.union1d(rows, further)
