"""Deep Unlearn's membership attack, on losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch.nn.functional as F

from evaluation.closeness import indiscernibility
from evaluation.predict import Predictions

SEED = 123  # the released code's, for shuffles and splits
SPLITS = 10
FEWEST = 6  # images of each kind: a tenth of both must hold two


def losses(predictions: Predictions) -> np.ndarray:
    """Cross-entropy of every image in nats, float32 [N]."""
    return F.cross_entropy(predictions.logits, predictions.labels, reduction="none").numpy()


def loss_attack(
    unseen: np.ndarray, forgotten: np.ndarray, random: np.random.RandomState | None = None, seed: int = SEED
) -> list[float]:
    """Accuracies of telling forgotten from unseen images by their loss, one per split, in [0, 1]; 1/2 is ideal.

    Both kinds are shuffled and cut to the same number. A logistic regression learns on 90 % of them and
    judges the rest, ten times.

    Args:
        unseen, forgotten: losses, float [N] and [M].
        random: draws the shuffles; None for a generator seeded with ``seed``.
        seed: seeds shuffles and splits; by default as in the released code.
    Returns:
        Ten accuracies; none where there are fewer than 6 images of a kind.
    Source: Cadet et al. 2025 (Deep Unlearn), U-MIA; settings of the released code.
    """
    count = min(len(unseen), len(forgotten))
    if count < FEWEST:
        return []
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

    random = np.random.RandomState(seed) if random is None else random
    parts = [values[random.permutation(len(values))][:count] for values in (unseen, forgotten)]
    splits = StratifiedShuffleSplit(n_splits=SPLITS, random_state=seed)
    column = np.nan_to_num(np.concatenate(parts)).reshape(-1, 1)
    labels = np.repeat([1, 0], count)
    return cross_val_score(LogisticRegression(), column, labels, cv=splits, scoring="accuracy").tolist()


def scores(
    outputs: Mapping[str, Predictions], unseen: Iterable[str], seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """The attack with each set of ``unseen`` images against the forget set; None where there are too few images.

    Args:
        outputs: predictions by set, with "forget" and all of ``unseen``.
        unseen: names of sets that the model was not trained on.
        seed: added to the seed of the released code, for shuffles and splits.
    Returns:
        By set: ``attack``, its mean accuracy, and ``indiscernibility``, fractions in [0, 1].
    """
    scores = {}
    for name in unseen:
        rights = loss_attack(losses(outputs[name]), losses(outputs["forget"]), seed=SEED + seed)
        mean = float(np.mean(rights)) if rights else None
        scores[name] = {"attack": mean, "indiscernibility": None if mean is None else indiscernibility(mean)}
    return scores
