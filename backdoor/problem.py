"""A poisoned training set, and the model that is trained on it or was."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from backdoor.setup import CleanseSetup
from dataset import prepare
from dataset.poison import Poison, image_sets
from dataset.split import choose_forget
from trainer import messages
from trainer.problem import Problem, load, stamp
from unlearn.problem import check_split
from utils.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class PoisonedProblem(Problem):
    """A ``Problem`` with the sets of ``dataset.poison.image_sets``.

    Attributes:
        words: the poison in words.
    """

    poison: Poison
    words: str


def read(setup: CleanseSetup) -> PoisonedProblem:
    """Load images, poison some, divide them, and build the poisoned model or a new one.

    Raises:
        UsageError: the model was trained on other images, or on others' poison, than this run would have it forget.
    """
    run = setup.run
    data, base = load(setup)
    marked = prepare.forget_split(data, run.seed, base, run.compat)
    drawn = choose_forget(data.train_labels, marked.train, setup.scenario, run.seed)
    poison = Poison(drawn, setup.target, setup.trigger)
    images = messages.drawn(setup.dataset, setup.scenario, len(drawn), len(marked.train))
    words = f"{images} get a {poison.trigger.words} and label {poison.target} ({data.classes[poison.target]})"
    problem = PoisonedProblem(
        data=data,
        base=marked,
        sets=image_sets(data, poison, marked.train, base.val, setup.device),
        model=setup.network.model(data, setup.checkpoint).to(setup.device),
        stamp={**stamp(setup, marked), "poison_digest": poison.digest, "poison": words},
        poison=poison,
        words=words,
    )
    check_origin(setup, problem)
    return problem


def check_origin(setup: CleanseSetup, problem: PoisonedProblem) -> None:
    """Refuse a model that was trained on other images, or on others' poison, than this run would have it forget."""
    found, allowed = setup.checkpoint, setup.allow_mismatch
    check_split(found, problem.base, allowed)
    if found is None:
        return
    if "poison_digest" not in found.extra:
        print(f"warning: {found.path} does not say with which poison it was trained", file=sys.stderr)
    elif found.extra["poison_digest"] != problem.poison.digest and not allowed:
        raise UsageError(
            f"--mask {found.path}: was trained with another poison ({found.extra['poison_digest']}: "
            f"{found.extra['poison']}) than this run's ({problem.poison.digest}: {problem.words}); "
            "give the flags that it was trained with, or --allow_split_mismatch"
        )
