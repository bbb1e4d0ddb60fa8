"""The loaded data of ``main_backdoor.py``: a poisoned training set, and the model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backdoor.cleanse_setup import CleanseSetup
from dataset import split_file
from dataset.poison import Poison, image_sets
from dataset.split import choose_forget
from trainer import messages
from trainer.problem import Problem, load, stamp
from unlearn.forget_problem import check_split
from utils.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class PoisonedProblem(Problem):
    """A ``Problem`` with the image sets of ``dataset.poison.image_sets``.

    Attributes:
        poison: the poisoned images, their new label and the trigger.
        words: the poison in words.
    """

    poison: Poison
    words: str

    def write_split(self, folder: Path) -> None:
        """Write ``split.npz`` to the folder, in which the forget set are the poisoned images."""
        poisoned = self.poison.indices
        sets = self.base.sets(len(self.data.test_labels))
        sets |= {"retain": np.setdiff1d(self.base.train, poisoned), "forget": poisoned}
        split_file.write(folder, sets, self.base.digest)


def read(setup: CleanseSetup) -> PoisonedProblem:
    """Load the images, poison some, divide them into sets, and build the poisoned model or a new one.

    Raises:
        UsageError: the model was trained on another split or with another poison than this run's.
    """
    run = setup.run
    data, base = load(setup)
    pool = base.forget_split
    drawn = choose_forget(data.train_labels, pool.train, setup.scenario, run.seed)
    poison = Poison(drawn, setup.target, setup.trigger)
    images = messages.drawn(setup.dataset, setup.scenario, len(drawn), len(pool.train))
    words = f"{images} get a {poison.trigger.words} and label {poison.target} ({data.classes[poison.target]})"
    problem = PoisonedProblem(
        data=data,
        base=pool,
        sets=image_sets(data, poison, pool, base.val, setup.device),
        model=setup.network.model(data, setup.checkpoint).to(setup.device),
        stamp={**stamp(setup, pool), "poison_digest": poison.digest, "poison": words},
        poison=poison,
        words=words,
    )
    check_origin(setup, problem)
    return problem


def check_origin(setup: CleanseSetup, problem: PoisonedProblem) -> None:
    """Refuse a model that was trained on another split or with another poison than this run's.

    With ``--allow_split_mismatch`` nothing is refused. A checkpoint that does not name its poison gets a warning.

    Raises:
        UsageError: split or poison differ.
    """
    checkpoint, allowed = setup.checkpoint, setup.allow_mismatch
    check_split(checkpoint, problem.base, allowed)
    if checkpoint is None:
        return
    if "poison_digest" not in checkpoint.extra:
        print(f"warning: {checkpoint.path} does not say with which poison it was trained", file=sys.stderr)
    elif checkpoint.extra["poison_digest"] != problem.poison.digest and not allowed:
        raise UsageError(
            f"--mask {checkpoint.path}: was trained with another poison ({checkpoint.extra['poison_digest']}: "
            f"{checkpoint.extra['poison']}) than this run's ({problem.poison.digest}: {problem.words}); "
            "give the flags that it was trained with, or --allow_split_mismatch"
        )
