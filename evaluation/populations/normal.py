"""Normal distributions of margins over the models on one side of an attack, fitted image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_SPREAD = 1e-3  # where all models agree, their margins have no spread to divide by


@dataclass(frozen=True)
class Moments:
    """Count, mean and squared deviations of the models' margins for each image.

    Attributes:
        count: number of models that have a margin for the image, int [...].
        mean: their mean margin, float64 [...]; 0 where there is no model.
        squares: sum of squared deviations from the mean, float64 [...].
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """Population standard deviation of each image, at least ``LEAST_SPREAD``."""
        return np.maximum(np.sqrt(self.squares / np.maximum(self.count, 1)), LEAST_SPREAD)

    @property
    def pooled_spread(self) -> float:
        """Standard deviation within images, one number for all of them, at least ``LEAST_SPREAD``."""
        return max(float(np.sqrt(self.squares.sum() / max(self.count.sum(), 1))), LEAST_SPREAD)


def moments(margins: np.ndarray) -> Moments:
    """Count, mean and squared deviations over the first axis, the models': float [M, ...] to [...]; NaN is left out."""
    known = ~np.isnan(margins)
    count = known.sum(0)
    mean = np.where(known, margins, 0.0).sum(0) / np.maximum(count, 1)
    return Moments(count, mean, (np.where(known, margins - mean, 0.0) ** 2).sum(0))


def log_density(z: np.ndarray, centre: np.ndarray, spread: np.ndarray | float) -> np.ndarray:
    """Natural logarithm of the normal density at ``z``, in float64."""
    return -0.5 * ((z - centre) / spread) ** 2 - np.log(spread) - 0.5 * np.log(2 * np.pi)
