"""Transfers a classifier to other classes: by a new head on frozen features, or by fine-tuning everything."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from dataset.images import Images
from evaluation.predict import Predictions, predict
from models import named_head
from pruner import Mask, check_held
from trainer import checkpoints
from trainer.loop import Training
from trainer.recipe import recipe
from trainer.task import Classification
from unlearn.context import Clock, Progress
from utils import seeds
from utils.log import Log

STEPS = 1000  # most steps of L-BFGS; a head on some hundred features converges in a few dozen


@dataclass(frozen=True)
class Target:
    """The target of a transfer: its number of classes, training and test images."""

    classes: int
    train: Images
    test: Images


@dataclass(frozen=True)
class Probed:
    """The model for the target, its mask, its accuracy on test images in [0, 1], and the active seconds of training."""

    model: nn.Module
    mask: Mask
    accuracy: float
    seconds: float


def new_head(model: nn.Module, classes: int, seed: int) -> nn.Linear:
    """A head for ``classes`` classes that fits the model, with torch's default initialisation, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive(seed, "head"))
        return nn.Linear(named_head(model)[1].in_features, classes)


def with_head(model: nn.Module, layer: nn.Module) -> nn.Module:
    """A copy of the model whose head is ``layer``, on the model's device."""
    copied = copy.deepcopy(model)
    name, old = named_head(copied)
    copied.set_submodule(name, layer.to(old.weight.device))
    return copied


def features(model: nn.Module, images: Images) -> Predictions:
    """The inputs of a model's head, in eval mode: predictions with features, float32 [N, D], in place of logits."""
    return predict(with_head(model, nn.Identity()), {"images": images})["images"]


def fit_head(features: Predictions, classes: int, l2: float) -> tuple[nn.Linear, bool]:
    """Fit a head by multinomial logistic regression on fixed features. It does not depend on a seed.

    Minimises  sum_n -log p(y_n | x_n) + l2 / 2 * ||W||^2  by L-BFGS over standardised features, so that neither their
    scale nor a step size matters. The standardisation is then folded into the head. Two classes share one row of W.

    Args:
        features: features [N, D] and labels of images; every class must occur.
        classes: number of classes.
        l2: weight of the penalty, above 0.
    Returns:
        The head on the CPU, and whether the minimum was reached in ``STEPS`` steps.
    Source: Kornblith et al. 2019, section 3 (logistic regression on fixed features).
    """
    values = features.logits.double().numpy()
    mean, scale = values.mean(0), values.std(0)
    scale[scale <= 1e-6 * np.abs(values).max(0)] = 1.0  # features that are constant up to rounding in float32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=1 / l2, max_iter=STEPS).fit((values - mean) / scale, features.labels.numpy())
    weight, bias = fitted.coef_ / scale, fitted.intercept_ - fitted.coef_ @ (mean / scale)
    if classes == 2:
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    layer = nn.Linear(weight.shape[1], classes)
    layer.load_state_dict({"weight": torch.from_numpy(weight).float(), "bias": torch.from_numpy(bias).float()})
    return layer, int(fitted.n_iter_.max()) < STEPS


def linear(model: nn.Module, mask: Mask, target: Target, l2: float, log: Log) -> Probed:
    """Transfer a model by a new head on its frozen features, see ``fit_head``. Each image passes the model once.

    Args:
        l2: weight of the penalty.
    """
    clock = Clock(target.train.device)
    clock.start()
    layer, converged = fit_head(features(model, target.train), target.classes, l2)
    seconds = clock.seconds
    if not converged:
        log.line(f"warning: the head is not at its minimum after {STEPS} steps; a larger --probe_l2 makes it easier")
    test = features(model, target.test)
    with torch.inference_mode():
        accuracy = Predictions(layer(test.logits), test.labels).accuracy
    return Probed(with_head(model, layer), mask, accuracy, seconds)


def full(model: nn.Module, mask: Mask, target: Target, flags: Any, seed: int, log: Log, progress: Progress) -> Probed:
    """Transfer a model by a new head and fine-tuning of all weights, with pruned weights kept at zero.

    A run that was killed goes on from its last epoch.

    Args:
        flags: ``probe_epochs``, ``probe_lr`` and those of ``Optimisation``.
        seed: of the head and of training.
        progress: where the state is stored after every epoch.
    Raises:
        RunError: the loss became NaN or infinite, or a pruned weight is not zero.
    """
    mask = {name: kept for name, kept in mask.items() if name != f"{named_head(model)[0]}.weight"}
    model = with_head(model, new_head(model, target.classes, seed))
    training = Training(model, recipe(flags, flags.probe_epochs, flags.probe_lr), mask)
    clock, before = Clock(target.train.device), 0.0
    if progress.state is not None:
        model.load_state_dict(checkpoints.unpack(progress.state["state_dict"])[0])
        training.restore(progress.state)
        before = progress.state["seconds"]
    clock.start(before)
    for done in training.run(target.train, seeds.derive(seed, "probe"), Classification().mean):
        with clock.paused(), log.epoch("probe", flags.probe_epochs, done):
            progress.save(seconds=clock.seconds, state_dict=checkpoints.pack(model, mask), **training.state())
    seconds = clock.seconds
    check_held(model, mask, "probing")
    return Probed(model, mask, predict(model, {"test": target.test})["test"].accuracy, seconds)
