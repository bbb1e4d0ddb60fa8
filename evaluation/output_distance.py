"""How far two models' outputs on the same images are apart: SUPREME's scores, and as its released code has them."""

from __future__ import annotations

import math

from torch import Tensor

from evaluation.divergence import jensen_shannon


def activation_distance(p: Tensor, q: Tensor) -> float:
    """Mean length of the difference of the probabilities, in [0, sqrt 2].

    Args:
        p, q: probabilities, float [N, C].
    Source: Golatkar et al. 2021; Chundawat et al. 2023 (Bad Teacher).
    """
    return float((p.double() - q.double()).norm(dim=1).mean())


def zrf(p: Tensor, q: Tensor) -> float:
    """Zero retrain forgetting, 1 - JS / ln 2, in [0, 1]; q the unlearned, p a randomly initialised network's.

    Args:
        p, q: probabilities, float [N, C].
    Source: Chundawat et al. 2023 (Bad Teacher), section 4.
    """
    return 1 - jensen_shannon(_rows(p), _rows(q)) / math.log(2)


def completeness(p: Tensor, q: Tensor) -> float:
    """Share of images on which both models' largest outputs agree, in [0, 1].

    Args:
        p, q: probabilities, float [N, C].
    """
    return float((p.argmax(1) == q.argmax(1)).double().mean())


def distances(p: Tensor, q: Tensor) -> dict[str, float]:
    """All of these by name, and what the released code of SUPREME computes (``..._rms``, ``..._as_coded``).

    Its root of the mean square stands for the activation distance, and its divergence has both arguments exchanged and
    is a mean over classes too.

    Args:
        p, q: probabilities, float [N, C]; p is the retrained or the random model's.
    Source: Andreou et al. 2026 (SUPREME).
    """
    middle = (p + q) / 2
    coded = sum((middle * (middle.log() - each.log())).mean() for each in (p, q)) / 2
    return {
        "activation_distance": activation_distance(p, q),
        "activation_distance_rms": float((p.double() - q.double()).square().sum(1).mean().sqrt()),
        "js": jensen_shannon(_rows(p), _rows(q)),
        "js_as_coded": float(coded),
        "zrf": zrf(p, q),
        "zrf_as_coded": 1 - float(coded),
        "completeness": 100 * completeness(p, q),
    }


def _rows(p: Tensor) -> Tensor:
    """Probabilities in float64 whose rows add up to 1."""
    p = p.double()
    return p / p.sum(1, keepdim=True)
