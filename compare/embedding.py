"""Two-dimensional maps of features in which all models share the axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from utils.errors import UsageError

Project = Callable[[np.ndarray], np.ndarray]  # float [N, D] to float [N, 2]
FIRST = 50  # principal components that t-SNE and UMAP are given


def embed(features: Sequence[np.ndarray], kind: str) -> np.ndarray:
    """Map the features of the same images under several models into one plane.

    Features of networks that were trained separately have no directions in common. Each model's features are therefore
    centred and rotated (never stretched) to be as near as possible to the first model's. Then one map is fitted to all.

    Args:
        features: float [P, D] of each model; D may differ.
        kind: "pca", "tsne" or "umap".
    Returns:
        float64 [models, P, 2].
    Source: the rotation is Schönemann 1966, orthogonal Procrustes.
    """
    turned = aligned(features)
    placed = KINDS[kind](np.concatenate(turned))
    return placed.reshape(len(turned), -1, 2).astype(np.float64)


def aligned(features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Features centred and rotated towards the first model's, float64 [P, D] each.

    D is the largest number of features, at least 2; the features of other models are padded with zeros.
    """
    width = max(2, *(each.shape[1] for each in features))
    whole = [np.pad(each - each.mean(0), ((0, 0), (0, width - each.shape[1]))).astype(np.float64) for each in features]
    return [whole[0], *(each @ orthogonal_procrustes(each, whole[0])[0] for each in whole[1:])]


def check(kind: str) -> None:
    """Raise a ``UsageError`` if this kind of map ("pca", "tsne" or "umap") needs a package that is not installed."""
    if kind == "umap":
        try:
            import umap  # noqa: F401
        except ImportError:
            raise UsageError("--map umap: umap-learn is not installed; pip install umap-learn") from None


def _tsne(points: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(init="pca", random_state=0, perplexity=perplexity).fit_transform(_components(points, FIRST))


def _umap(points: np.ndarray) -> np.ndarray:
    import umap

    return umap.UMAP(random_state=0, n_jobs=1).fit_transform(_components(points, FIRST))


def _components(points: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` principal components, or as many as there are; padded with zeros to at least two."""
    count = min(count, *points.shape)
    components = PCA(count, svd_solver="covariance_eigh").fit_transform(points)
    return np.pad(components, ((0, 0), (0, max(0, 2 - count))))


KINDS: dict[str, Project] = {"pca": partial(_components, count=2), "tsne": _tsne, "umap": _umap}
