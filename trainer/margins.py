"""``outputs.npz`` of a run: its model's margins on all images of the data set, for ``main_attack.py``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from dataset.scenario import Scenario
from dataset.schemes.lira_populations import population_numbers
from dataset.split import BaseSplit
from evaluation.populations import outputs
from evaluation.populations.outputs import Outputs
from evaluation.populations.scaled_logit import scaled_logit
from evaluation.predict import Predictions, predict
from trainer import checkpoints
from trainer.problem import Problem
from trainer.setup import Setup
from utils.errors import DivergedError, UsageError, say_last


@dataclass(frozen=True, eq=False)
class Part:
    """A model's part in a population.

    Attributes:
        retain, forget: positions in the official training set, int64 [M].
        kind, run, split, forget_set: entries of ``outputs.npz``, see ``evaluation.populations.outputs``.
    """

    retain: np.ndarray
    forget: np.ndarray
    kind: str
    run: str
    split: int
    forget_set: int


def save(
    path: Path, model: nn.Module, problem: Problem, part: Part, predictions: Mapping[str, Predictions] | None = None
) -> None:
    """Write a model's ``outputs.npz``; if an output is NaN or infinite, write none and say so at the end of the run.

    Args:
        path: the file.
        problem: the data set, and its sets.
        part: the model's part in the population.
        predictions: the model's predictions by set, if they were made before; None makes them here.
    """
    try:
        margin = of_every_image(model, problem, predictions)
    except DivergedError as error:
        say_last([f"no {path}: {error}"])
        return
    retain, forget = np.zeros((2, len(margin)), bool)
    retain[part.retain], forget[part.forget] = True, True
    about = (part.kind, part.run, problem.data.digest, part.split, part.forget_set)
    outputs.write(path, Outputs(margin, retain, forget, *about))


def of_every_image(model: nn.Module, problem: Problem, known: Mapping[str, Predictions] | None = None) -> np.ndarray:
    """Margins of the official training images, then of the test images: float32 [images].

    Images that are in none of the problem's sets are passed through the model separately. Its outputs on the sets, and
    so all scores, are then the same as without ``--save_outputs``.

    Args:
        known: the model's predictions by set, if they were made before; None makes them here.
    Raises:
        DivergedError: an output, or a margin, is NaN or infinite.
    """
    data, sets = problem.data, problem.sets
    train, test = len(data.train_labels), len(data.test_labels)
    margins, seen = np.full(train + test, np.nan, np.float32), np.zeros(train + test, bool)
    first = {id(sets["test"].source): train}
    trained = next(images for images in sets.values() if id(images.source) not in first)
    first[id(trained.source)] = 0

    def fill(name: str, predictions: Predictions, start: int, positions: np.ndarray) -> None:
        margins[start + positions] = scaled_logit(predictions.logits.numpy(), predictions.labels.numpy())
        seen[start + positions] = True

    for name, predictions in (known or predict(model, sets)).items():
        if id(sets[name].source) in first:  # a data set's own validation images are in neither part
            fill(name, predictions, first[id(sets[name].source)], sets[name].indices.cpu().numpy())
    others = {
        "train": trained.at(np.flatnonzero(~seen[:train])),
        "test": sets["test"].at(np.flatnonzero(~seen[train:])),
    }
    others = {name: images for name, images in others.items() if len(images)}
    for name, predictions in predict(model, others).items():
        fill(name, predictions, first[id(others[name].source)], others[name].indices.cpu().numpy())
    if not np.isfinite(margins).all():
        raise DivergedError("the model's margins are too large for float32")
    return margins


def numbers(setup: Setup, base: BaseSplit, scenario: Scenario | None = None) -> tuple[int, int]:
    """Numbers that identify a run's split, and its forget set within this split, in a population.

    ``--split lira:S:J`` gives S and J. Otherwise the split's number is its seed, or is computed from its digest if it
    has none. The forget set's number is that of the one class that is forgotten whole. It is computed from the numbers
    of several classes or subclasses, or from the positions of listed images. If images are drawn, it is ``--seed``. If
    nothing is forgotten, it is 0.

    Args:
        base: the split that the model was trained on.
        scenario: what is forgotten; None for a training.
    """
    numbers_of_split = population_numbers(setup.data.split)
    if numbers_of_split is not None:
        return numbers_of_split
    split = _number(base.digest) if base.seed is None else base.seed
    if scenario is None:
        return split, 0
    if scenario.indices is not None:
        return split, _number(str(scenario.facts()["indices_digest"]))
    if scenario.count is None and scenario.labels is not None:
        alone = len(scenario.labels) == 1 and not scenario.subclass
        words = f"{'subclasses ' if scenario.subclass else ''}{scenario.labels}"
        return split, scenario.labels[0] if alone else _number(hashlib.sha256(words.encode()).hexdigest())
    return split, setup.run.seed


def file_of(round_: int, rounds: int, last_epoch: bool = False) -> str:
    """Name of the file with the outputs of round ``round_`` of ``rounds``; all but the last begin with the number.

    ``outputs.npz`` belongs to the weights of the best validation accuracy, ``last_outputs.npz`` to those of the last
    epoch.
    """
    name = f"{outputs.LAST_EPOCH}{outputs.NAME}" if last_epoch else outputs.NAME
    return name if round_ + 1 == rounds else f"{round_}{name}"


def check_own(path: Path, fingerprint: str) -> None:
    """Refuse a checkpoint that is missing or was not written by the run with this fingerprint.

    Raises UsageError: names the file.
    """
    seen = checkpoints.peek(path)
    if seen is None or seen.extra.get("fingerprint") != fingerprint:
        reason = "is not there" if not path.exists() else "is not this run's model any more"
        raise UsageError(f"--save_outputs: {path} {reason}; give the command another --save_dir to train it again")


def _number(digest: str) -> int:
    return int(digest[:8], 16)
