"""How far two models' outputs on the same images are apart, such as those of an unlearned and a retrained model."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from evaluation.closeness import SETS, mean_sape, retention_deviation, tug_of_war
from evaluation.predict import Predictions
from evaluation.privacy_score import privacy_score

SMALLEST = 1e-20  # least probability that a logarithm is taken of


def kullback_leibler(p: Tensor, q: Tensor) -> float:
    """Mean over rows of KL(p || q) = sum over classes of p * log(p / q), in nats; p is the retrained model's.

    Args:
        p, q: probabilities, float [N, C], rows summing to 1.
    Source: Huang et al. 2024 (SFR-on); Golatkar et al. 2020.
    """
    return float(_rows(p.double(), q.double()).mean())


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """Mean over rows of (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, in nats, in [0, log 2]; symmetric.

    Args:
        p, q: probabilities, float [N, C], rows summing to 1.
    """
    p, q = p.double(), q.double()
    middle = (p + q) / 2
    return float((_rows(p, middle) + _rows(q, middle)).mean() / 2)


def activation_distance(p: Tensor, q: Tensor) -> float:
    """Mean over rows of the Euclidean length of p - q, in [0, sqrt 2].

    Args:
        p, q: probabilities, float [N, C].
    Source: Golatkar et al. 2021; Chundawat et al. 2023 (Bad Teacher).
    """
    return float((p.double() - q.double()).norm(dim=1).mean())


def zrf(p: Tensor, q: Tensor) -> float:
    """Zero retrain forgetting, 1 - JS / ln 2, in [0, 1]; 1 if both networks' outputs are equal.

    Args:
        p, q: probabilities, float [N, C]: of a randomly initialised network, and of the unlearned model.
    Source: Chundawat et al. 2023 (Bad Teacher), section 4.
    """
    return 1 - jensen_shannon(_normalised(p), _normalised(q)) / math.log(2)


def completeness(p: Tensor, q: Tensor) -> float:
    """Share of images on which both models' largest outputs agree, in [0, 1].

    Args:
        p, q: probabilities, float [N, C].
    """
    return float((p.argmax(1) == q.argmax(1)).double().mean())


def distances(p: Tensor, q: Tensor) -> dict[str, float]:
    """Activation distance, JS, ZRF and completeness by name, each also as the released code of SUPREME computes it.

    ``activation_distance_rms`` is the root of the mean square, which that code reports as the activation distance. In
    ``js_as_coded`` and ``zrf_as_coded`` the arguments of KL are exchanged and the divergence is averaged over classes
    instead of summed. ``completeness`` is in per cent, the others as in the functions above.

    Args:
        p, q: probabilities, float [N, C]; p is the retrained or the random model's.
    Source: Andreou et al. 2026 (SUPREME).
    """
    middle = (p + q) / 2
    coded = sum((middle * (middle.log() - each.log())).mean() for each in (p, q)) / 2
    return {
        "activation_distance": activation_distance(p, q),
        "activation_distance_rms": float((p.double() - q.double()).square().sum(1).mean().sqrt()),
        "js": jensen_shannon(_normalised(p), _normalised(q)),
        "js_as_coded": float(coded),
        "zrf": zrf(p, q),
        "zrf_as_coded": 1 - float(coded),
        "completeness": 100 * completeness(p, q),
    }


def _rows(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.clamp(min=SMALLEST).log() - q.clamp(min=SMALLEST).log())).sum(1)


def _normalised(p: Tensor) -> Tensor:
    """Probabilities in float64 whose rows add up to 1."""
    p = p.double()
    return p / p.sum(1, keepdim=True)


def compare(
    unlearned: Mapping[str, Predictions], retrained: Mapping[str, Predictions]
) -> dict[str, dict[str, float] | float | None]:
    """How far an unlearned model is from the retrained one, by outputs on the retain, forget and test set.

    ``KL`` and ``JS`` in nats, ``AD`` (activation distance), ``agreement`` (share of images with the same answer) and
    the retrained model's ``accuracy`` are by set. ``ToW``, ``RD`` and ``SAPE`` compare accuracies, ``privacy_score``
    the outputs on the forget set.

    Outputs that only the unlearned model has are left out before the softmax, such as the new class of boundary
    expanding in ``--compat reference``.
    """
    classes = retrained["test"].logits.shape[1]
    pairs = {name: (retrained[name].probs, unlearned[name].logits[:, :classes].softmax(1)) for name in SETS}
    accuracies = [{name: predictions[name].accuracy for name in SETS} for predictions in (unlearned, retrained)]
    return {
        "KL": {name: kullback_leibler(*pair) for name, pair in pairs.items()},
        "JS": {name: jensen_shannon(*pair) for name, pair in pairs.items()},
        "AD": {name: activation_distance(*pair) for name, pair in pairs.items()},
        "agreement": {name: completeness(*pair) for name, pair in pairs.items()},
        "privacy_score": privacy_score(unlearned["forget"].logits[:, :classes], retrained["forget"].logits),
        "accuracy": accuracies[1],
        "ToW": tug_of_war(*accuracies),
        "RD": retention_deviation(*accuracies),
        "SAPE": mean_sape(*accuracies),
    }
