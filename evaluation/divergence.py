"""How far a model's outputs are from those of the model retrained without the forget set."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from evaluation.closeness import SETS, mean_sape, retention_deviation, tug_of_war
from evaluation.predict import Predictions

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


def _rows(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.clamp(min=SMALLEST).log() - q.clamp(min=SMALLEST).log())).sum(1)


def compare(
    unlearned: Mapping[str, Predictions], retrained: Mapping[str, Predictions]
) -> dict[str, dict[str, float] | float | None]:
    """``KL`` and ``JS`` in nats and ``accuracy`` of the retrained model, each by set; ``ToW``, ``RD`` and ``SAPE``.

    Outputs that only the unlearned model has, the new class of boundary expanding in ``--compat
    reference``, are left out before the softmax.
    """
    classes = retrained["test"].logits.shape[1]
    pairs = {name: (retrained[name].probs, unlearned[name].logits[:, :classes].softmax(1)) for name in SETS}
    accuracies = [{name: found[name].accuracy for name in SETS} for found in (unlearned, retrained)]
    return {
        "KL": {name: kullback_leibler(*pair) for name, pair in pairs.items()},
        "JS": {name: jensen_shannon(*pair) for name, pair in pairs.items()},
        "accuracy": accuracies[1],
        "ToW": tug_of_war(*accuracies),
        "RD": retention_deviation(*accuracies),
        "SAPE": mean_sape(*accuracies),
    }
