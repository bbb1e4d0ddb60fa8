"""Networks that were never trained, beside which ZRF sets an unlearned one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from dataset.images import Images
from evaluation.predict import Predictions, predict_all
from unlearn.draws import Draws

NETWORKS = 3  # one draw moves the score


def outputs(model: nn.Module, sets: Mapping[str, Images], seed: int) -> list[dict[str, Predictions]]:
    """Outputs of networks of the model's architecture with new weights, on those images that ZRF looks at.

    Args:
        sets: of which "forget_test" is taken, or else "forget".
        seed: of the weights; the same for every method, so that all of them are set beside the same networks.
    """
    name = "forget_test" if "forget_test" in sets else "forget"
    return predict_all([Draws(seed).network(model, "incompetent", n) for n in range(NETWORKS)], {name: sets[name]})
