"""RMIA: judge whether a model was trained on an image, by comparison with images that no model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utils.errors import UsageError

VARIANTS = ("online", "offline")
SMALLEST = 1e-30  # least probability, so that ratios of vanishing ones are 1 and not NaN


@dataclass(frozen=True)
class Signals:
    """Probabilities of the true class, in [0, 1], for some images.

    Attributes:
        target: under the model that is attacked, float [N].
        references: under the reference models, float [M, N].
        trained: which reference model was trained on which image, bool [M, N].
    Raises:
        UsageError: the shapes do not fit, or a signal is outside of [0, 1].
    """

    target: np.ndarray
    references: np.ndarray
    trained: np.ndarray

    def __post_init__(self) -> None:
        for name, kind in (("target", np.float64), ("references", np.float64), ("trained", bool)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        shapes = self.target.shape, self.references.shape, self.trained.shape
        if self.references.ndim != 2 or 0 in shapes[1] or shapes != (shapes[1][1:], shapes[1], shapes[1]):
            raise UsageError(f"RMIA: needs signals [images], [models, images] and [models, images], not {shapes}")
        if not all(((signal >= 0) & (signal <= 1)).all() for signal in (self.target, self.references)):
            raise UsageError("RMIA: a signal is no probability; give softmax outputs of the true class")

    def mean(self, trained: bool) -> np.ndarray:
        """Mean of ``references`` over those that were, or were not, trained on the image: [N]; 0 if there is none."""
        chosen = self.trained == trained
        return np.where(chosen, self.references, 0.0).sum(0) / np.maximum(chosen.sum(0), 1)


def rmia(images: Signals, population: Signals, variant: str, gamma: float = 2.0, offline_a: float = 0.3) -> np.ndarray:
    """Score of every image x: the share of population images z with ratio(x) >= gamma * ratio(z); larger means member.

    The ratio of an image is its probability under the target divided by its marginal probability. With ``online`` the
    marginal is (mean_in + mean_out) / 2, from the means over the reference models that were and were not trained on the
    image. With ``offline``, and for population images that no reference model was trained on, it is
    ((1 + a) * mean_out + 1 - a) / 2.

    Args:
        images: signals of the images to judge.
        population: signals of images that the target was not trained on; the score's resolution is one over their
            number.
        variant: "online" or "offline".
        gamma: factor between the ratios, at least 1.
        offline_a: a, in [0, 1]; do not tune it on a model that is reported.
    Returns:
        float64 [N], in [0, 1].
    Raises:
        UsageError: a judged image lacks reference models, or an argument is out of range.
    Source: Zarifzadeh et al. 2024.
    """
    if variant not in VARIANTS:
        raise UsageError(f"RMIA: {variant!r} is no variant; choose from {', '.join(VARIANTS)}")
    if not (gamma >= 1 and 0 <= offline_a <= 1):
        raise UsageError(f"RMIA: needs gamma >= 1 and a in [0, 1], not {gamma} and {offline_a}")
    counts = images.trained.sum(0)
    _enough(len(images.trained) - counts, "not trained on it")
    if variant == "offline":
        _enough((~population.trained).sum(0), "not trained on it, as every population image does")
    else:
        _enough(counts, "trained on it (or take the offline variant)")
    bounds = gamma * _ratio(population, variant, offline_a)
    return np.searchsorted(np.sort(bounds), _ratio(images, variant, offline_a), side="right") / len(bounds)


def rmia_as_coded(images: Signals, population: Signals, offline_a: float = 0.3) -> np.ndarray:
    """What ML Privacy Meter computes: the offline variant with gamma 1 and a strict comparison.

    Its mean_out is the mean of the larger half of the references' probabilities, after those of models trained on the
    image were set to 0. For population images nothing is set to 0, so their mean_out, and with it the score, is too
    high.

    Args:
        images, population, offline_a: those of ``rmia``.
    Returns:
        float64 [N], in [0, 1].
    """
    half = max(len(images.references) // 2, 1)

    def ratio(signals: Signals, references: np.ndarray) -> np.ndarray:
        return signals.target / _offline(np.sort(references, axis=0)[-half:].mean(0), offline_a)

    bounds = np.sort(ratio(population, population.references))
    ratios = ratio(images, np.where(images.trained, 0.0, images.references))
    return np.searchsorted(bounds, ratios, side="left") / len(bounds)


def _offline(mean_out: np.ndarray, offline_a: float) -> np.ndarray:
    return np.maximum(((1 + offline_a) * mean_out + 1 - offline_a) / 2, SMALLEST)


def _ratio(signals: Signals, variant: str, offline_a: float) -> np.ndarray:
    mean_out = signals.mean(False)
    marginal = _offline(mean_out, offline_a)
    if variant == "online":
        marginal = np.where(signals.trained.any(0), (signals.mean(True) + mean_out) / 2, marginal)
    return np.maximum(signals.target, SMALLEST) / np.maximum(marginal, SMALLEST)


def _enough(count: np.ndarray, words: str) -> None:
    """Refuse images without a reference model of the kind that ``words`` describes."""
    if not count.all():
        raise UsageError(
            f"RMIA: image {int(count.argmin())} needs 1 reference model that was {words}, and there is none; "
            "train more reference models, each on a random half of the images"
        )
