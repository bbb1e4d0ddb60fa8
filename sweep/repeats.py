"""The repeats of a sweep's grid: over seeds, initialisations, the splits of a population, and any other flag."""

from __future__ import annotations

import functools
import importlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sweep.spec import Flags, Spec
from utils.errors import UsageError
from utils.names import nearest

SCRIPTS = [f"main_{name}.py" for name in ("backdoor", "forget", "imp", "saliency", "synflow", "transfer")]
FORGETTING = "main_forget.py"


@dataclass(frozen=True)
class Step:
    """One value on one axis of the repeats.

    Attributes:
        labels: the value as overrides name it, by the axis's name.
        trained: its part of the name of the trainings' folder; empty if trainings do not depend on the value.
        unlearned: its part of the name of the folder below that one, which holds the unlearning runs.
        training: flags that it adds to trainings. If there are none, one training serves all values of the axis.
        unlearning: flags that it adds to unlearning runs.
    """

    labels: dict[str, str]
    trained: str = ""
    unlearned: str = ""
    training: Flags = field(default_factory=dict)
    unlearning: Flags = field(default_factory=dict)


@dataclass(frozen=True)
class Repeat:
    """One repeat of the grid: a value on every axis."""

    steps: tuple[Step, ...]

    @property
    def trained(self) -> str:
        """The name of the folder of its trainings."""
        return "-".join(step.trained for step in self.steps if step.trained) or "all"

    @property
    def unlearned(self) -> str:
        """The folder of its unlearning runs below that of the trainings; empty where trainings depend on all axes."""
        return "-".join(step.unlearned for step in self.steps if step.unlearned)

    @property
    def training(self) -> Flags:
        """Flags that it adds to trainings."""
        return {name: value for step in self.steps for name, value in step.training.items()}

    @property
    def unlearning(self) -> Flags:
        """Flags that it adds to unlearning runs."""
        return {name: value for step in self.steps for name, value in step.unlearning.items()}

    @property
    def labels(self) -> dict[str, str]:
        """Its value on every axis, by the axis's name."""
        return {name: value for step in self.steps for name, value in step.labels.items()}


def repeats(spec: Spec) -> list[Repeat]:
    """Every combination of values on the sweep's axes, in the order in which they stand in the file."""
    return [Repeat(steps) for steps in itertools.product(*_axes(spec))]


def _axes(spec: Spec) -> Iterator[list[Step]]:
    if spec.separate:
        yield from _separate(spec)
    else:
        yield [_seed(spec, seed) for seed in spec.seeds]
    if inits := spec.population.get("inits"):
        yield [_both({"init": str(number)}, f"init{number}", {"init_seed": number}) for number in inits]
    if lira := spec.population.get("lira"):
        step = _pair if spec.flags.get("compat") == "reference" else _set_of_split
        yield [step(*numbers) for numbers in itertools.product(lira["splits"], lira["forgets"])]
    for flag, values in spec.axes.items():
        yield [_free(spec, flag, value) for value in values]


def _both(labels: dict[str, str], part: str, flags: Flags) -> Step:
    """A value on which both trainings and unlearning runs depend."""
    return Step(labels, trained=part, training=flags, unlearning=flags)


def _seed(spec: Spec, seed: int) -> Step:
    """A seed for everything. It is part of the folder's name only if the file states seeds."""
    part = f"seed{seed}" if spec.seeds_stated else ""
    return _both({"seed": str(seed)}, part, {"seed": seed, "train_seed": seed})


def _separate(spec: Spec) -> Iterator[list[Step]]:
    """Seeds of the split, of training, of the forget set, of unlearning and of scoring, each an axis of its own.

    In a training, ``--seed`` decides only the split. In an unlearning run it decides what is forgotten; without an
    axis of forget sets it also decides what the method draws.
    """
    seeds = spec.separate
    if "split" in seeds:
        yield [Step({"split": str(s)}, f"split{s}", "", {"seed": s}, {"split_seed": s}) for s in seeds["split"]]
    yield [_both({"train": str(s)}, f"train{s}", {"train_seed": s}) for s in seeds["train"]]
    if "forget" in seeds:
        yield [Step({"forget": str(s)}, "", f"forget{s}", {}, {"seed": s}) for s in seeds["forget"]]
    named, flag = ("unlearn", "unlearn_seed") if "forget" in seeds else ("seed", "seed")
    yield [Step({named: str(s)}, "", f"unlearn{s}", {}, {flag: s}) for s in seeds["unlearn"]]
    if "eval" in seeds:
        yield [Step({"eval": str(s)}, "", f"eval{s}", {}, {"eval_seed": s}) for s in seeds["eval"]]


def _set_of_split(split: int, forget: int) -> Step:
    """A forget set of a population's split. All forget sets of a split share one training set, hence one training."""
    labels, flags = _labels(split, forget), [{"split": f"lira:{split}:{number}"} for number in (0, forget)]
    return Step(labels, f"split{split}", f"forget{forget}", *flags)


def _pair(split: int, forget: int) -> Step:
    """A forget set with a training of its own, as in Deep Unlearn's code: the training's image order depends on it."""
    return _both(_labels(split, forget), f"split{split}-forget{forget}", {"split": f"lira:{split}:{forget}"})


def _labels(split: int, forget: int) -> dict[str, str]:
    return {"split": str(split), "forget": str(forget)}


def _free(spec: Spec, flag: str, value: Any) -> Step:
    """A value of any other flag, given to the scripts that read it. If no training does, one serves all values."""
    labels, part = {flag: str(value)}, f"{flag}={str(value).replace('/', '_')}"
    trainings = {entry["script"] for entry in spec.train.values()}
    trains = any(flag in read_by(script) for script in trainings)
    unlearns = flag in read_by(FORGETTING) and bool(spec.methods)
    if not trains and not unlearns:
        known = frozenset().union(*map(read_by, {*trainings, *([FORGETTING] if spec.methods else [])}))
        raise UsageError(f"{spec.file}: axes: {flag}: no script of this sweep reads it{nearest(flag, sorted(known))}")
    given = {flag: value}
    unlearning = given if unlearns else {}
    return Step(labels, part, "", given, unlearning) if trains else Step(labels, "", part, {}, unlearning)


@functools.cache
def read_by(script: str) -> frozenset[str]:
    """Flags that a script, or any method that it runs, reads; empty for an unknown script, which is refused later."""
    if script not in SCRIPTS:
        return frozenset()
    return importlib.import_module(script.removesuffix(".py")).arg_parser.read_by(script)
