"""Outputs of untrained networks, with which ZRF compares those of the unlearned model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from dataset.images import Images
from evaluation.predict import Predictions, predict_all
from unlearn.draws import Draws

NETWORKS = 3  # several, because the score depends on the network that is drawn


def outputs(model: nn.Module, sets: Mapping[str, Images], seed: int) -> list[dict[str, Predictions]]:
    """Outputs of networks of the model's architecture with new weights, on the images that ZRF looks at.

    Args:
        sets: image sets; "forget_test" is used, or "forget" if there is no such set.
        seed: seeds the weights; the same for every method, so that all are compared with the same networks.
    Returns:
        For each network its predictions, under the name of the set.
    """
    name = "forget_test" if "forget_test" in sets else "forget"
    return predict_all([Draws(seed).network(model, "incompetent", n) for n in range(NETWORKS)], {name: sets[name]})
