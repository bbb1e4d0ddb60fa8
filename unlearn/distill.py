"""Losses between the outputs of a teacher and a student."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def teacher_of(model: nn.Module) -> nn.Module:
    """A copy of ``model`` as it is now, in eval mode and without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def divergence(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(target || softmax(logits / T)), the mean over images, in nats.

    Args:
        target: probabilities, float [B, C].
        logits: float [B, C]; gradients flow into these.
        temperature: T.
    """
    return F.kl_div(F.log_softmax(logits / temperature, dim=1), target, reduction="batchmean")


def distillation(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(teacher / T) || softmax(student / T)), the mean over images, in nats, without Hinton's factor T ** 2.

    Args:
        teacher, student: logits, float [B, C].
        temperature: T.
    """
    return divergence(F.softmax(teacher / temperature, dim=1), student, temperature)


def from_uniform(logits: Tensor) -> Tensor:
    """KL(uniform || softmax(logits)), the mean over images, in nats."""
    return divergence(torch.full_like(logits, 1 / logits.shape[1]), logits)


def entropy(logits: Tensor) -> Tensor:
    """Shannon entropy of the softmax outputs of each image in nats: [B]."""
    log_probs = F.log_softmax(logits, dim=1)
    return -(log_probs.exp() * log_probs).sum(1)
