"""Predictions, margins, features and accuracies of a model on all images, from one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dataset.images import Images
from evaluation.features import predict_with_features
from evaluation.populations.scaled_logit import scaled_logit
from evaluation.privacy_score import confidence, entropy
from utils.errors import RunError


@dataclass(frozen=True, eq=False)
class Answers:
    """One model's answers. Arrays have a row per image, the images of all sets one after the other.

    Attributes:
        predicted: class with the largest logit, int64 [N].
        margin: scaled logit of the true class, float64 [N].
        confidence: probability of the predicted class, float64 [N].
        entropy: of the probabilities at temperature 2, in nats, float64 [N].
        features: input of the last layer for the rows that were asked for, float32 [P, D].
        forget: logits on the forget set, float32 [F, C].
        accuracy: by set, in [0, 1]; None for a set without images.
    """

    predicted: np.ndarray
    margin: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray
    features: np.ndarray
    forget: Tensor
    accuracy: dict[str, float | None]


def ask(model: nn.Module, sets: Mapping[str, Images], rows: np.ndarray) -> Answers:
    """Run a model once over all sets.

    Args:
        sets: images by set, "forget" among them.
        rows: images whose features are kept, int64 [P], counted over all sets in their order.
    Raises:
        DivergedError: an output is NaN or infinite.
        RunError: a label is none of the model's classes.
    """
    predictions, features = predict_with_features(model, sets)
    logits = torch.cat([one.logits for one in predictions.values()]).double()
    labels = torch.cat([one.labels for one in predictions.values()])
    if len(labels) and int(labels.max()) >= logits.shape[1]:
        unknown = f"class {int(labels.max())} is none of the model's {logits.shape[1]}"
        raise RunError(f"{unknown}; is --data the right folder?")
    return Answers(
        predicted=logits.argmax(1).numpy(),
        margin=scaled_logit(logits.numpy(), labels.numpy()),
        confidence=confidence(logits).numpy(),
        entropy=entropy(logits).numpy(),
        features=torch.cat(list(features.values()))[torch.from_numpy(rows)].numpy(),
        forget=predictions["forget"].logits,
        accuracy={name: one.accuracy if len(one) else None for name, one in predictions.items()},
    )
