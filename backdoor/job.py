"""A poisoned training set and the model that is to forget it: what ``main_backdoor.py`` checks, reads and builds."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models
from arg_parser import BackdoorArguments, PoisonedPrune, Train, check_counterpart, deciding
from dataset import prepare, split_file
from dataset.poison import Poison, image_sets
from dataset.scenario import Scenario, number_of
from dataset.sources import Dataset
from dataset.split import choose_forget
from dataset.trigger import MARGIN
from pruner import Mask
from trainer import pretrain, rounds
from unlearn import registry, saliency, start
from unlearn.session import outputs
from utils import checkpoints
from utils.device import resolve
from utils.errors import UsageError, say_last
from utils.run_folder import fingerprint


@dataclass(frozen=True)
class Checked:
    """What was found right before any image is read.

    Attributes:
        scenario: which images are poisoned.
        target: number of the class that triggered images are to be taken for.
        given: the model to unlearn, or None if it is to be trained.
        rewound: weights to start unlearning from instead of the model's, or None.
        only: the weights that may change, if a file names them.
        training: names a training by everything that decides its numbers.
        config: everything that decides the run's numbers, as plain data.
    """

    method: registry.Method
    device: torch.device
    chosen: prepare.DatasetInfo
    scenario: Scenario
    target: int
    given: checkpoints.Checkpoint | None
    rewound: checkpoints.Checkpoint | None
    only: Mask | None
    training: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Data, poison and image sets of the run; ``bench`` is what a training works on."""

    poison: Poison
    words: str
    bench: pretrain.Bench

    def write_split(self, folder: Path) -> None:
        """Leave ``split.npz``, whose images to forget are the poisoned ones."""
        base, poisoned = self.bench.base, self.poison.indices
        sets = base.sets(len(self.bench.data.test_labels))
        split_file.write(folder, sets | {"retain": np.setdiff1d(base.train, poisoned), "forget": poisoned}, base.digest)


def check(arguments: BackdoorArguments) -> Checked:
    """Refuse what can be refused without reading data: device, data set, poison, architecture, checkpoint."""
    method = registry.get(arguments.unlearn.unlearn)
    run = arguments.run
    device = resolve(run.device, run.gpu, run.deterministic, run.no_fast_cpu)
    models.check(arguments.model.arch, arguments.model.imagenet_arch)
    chosen = prepare.find(
        arguments.data.dataset, arguments.data.data, arguments.data.input_size, given=arguments.data.split
    )
    if chosen.source.streamed:
        raise UsageError(
            f"--dataset {chosen.source.name}: images are poisoned in memory, and these are read from disk as needed; use another data set"
        )
    target = target_class(arguments, chosen)
    check_trigger(arguments, chosen)
    start.check_validation(method, chosen, arguments.data.dataset)
    scenario = chosen.resolve(arguments.scenario)
    if scenario.labels == (target,):
        raise UsageError(f"{arguments.scenario.typed}: is the target itself; must be another class than --target_label")
    given = None
    if arguments.unlearn.mask is not None and is_there(
        Path(arguments.unlearn.mask), Path(arguments.run.save_dir), method
    ):
        given = start.read_other(arguments, chosen, arguments.unlearn.mask, "--mask")
    rewound = start.read_other(arguments, chosen, getattr(arguments.hyper, "rewind_pth", None), "--rewind_pth")
    only, digest = saliency.given(arguments, chosen)
    config = deciding(arguments) | {"scenario": scenario.facts(), "target": target, **chosen.identity}
    config |= models.origin(arguments.model.arch)
    training = fingerprint(
        {key: value for key, value in config.items() if key not in ("unlearn", "hyper", "sparsities")}
    )
    if arguments.sparsities is not None:
        del config["prune"]["rate"]
    config |= {"method": method.name, "rewind": rewound and rewound.sha256, **({"saliency": digest} if digest else {})}
    if given is not None and given.extra.get("trained") != training:  # not the file that this very command wrote
        check_unread(arguments)
        config = {key: value for key, value in config.items() if key not in ("train", "prune")} | {
            "checkpoint": given.sha256
        }
    return Checked(method, device, chosen, scenario, target, given, rewound, only, training, config)


def check_unread(arguments: BackdoorArguments) -> None:
    """Refuse flags of training for a model that is trained already where a flag of unlearning is meant; say of the others that nothing reads them."""
    typed = {name: value for name, _, value in (word.removeprefix("--").partition("=") for word in arguments.typed)}
    read = set(type(arguments.hyper).__dataclass_fields__)
    idle = [name for name in typed if name in {*Train.__dataclass_fields__, *PoisonedPrune.__dataclass_fields__} - read]
    for name in idle:
        check_counterpart(
            name, typed, read, f"--unlearn {arguments.unlearn.unlearn}, and the model of --mask is trained already"
        )
    if idle:
        say_last([f"not read: {', '.join(f'--{name}' for name in idle)}, as the model of --mask is trained already"])


def target_class(arguments: BackdoorArguments, chosen: prepare.DatasetInfo) -> int:
    """The number of the target class, under whichever of its two flags it was typed."""
    found = {number_of(word, chosen.names, flag) for flag, word in arguments.target.items()}
    if len(found) > 1:
        raise UsageError(
            f"{' and '.join(f'{flag} {word}' for flag, word in arguments.target.items())} both say which class is the target; give one"
        )
    return found.pop()


def check_trigger(arguments: BackdoorArguments, chosen: prepare.DatasetInfo) -> None:
    """Refuse a trigger that does not fit on the images."""
    size, side = arguments.trigger.size, chosen.side
    if size > side - MARGIN:
        raise UsageError(
            f"--trigger_size {size}: must be at most {side - MARGIN}, {MARGIN} less than the images' {side} pixels"
        )


def is_there(mask: Path, save_dir: Path, method: registry.Method) -> bool:
    """Whether ``--mask`` names a model to read; if not, one will be written there, so that must be possible."""
    if mask.exists():
        return True
    if mask.resolve().parent == save_dir.resolve() and any(
        mask.match(pattern) for pattern in rounds.OUTPUTS + outputs(method)
    ):
        raise UsageError(
            f"--mask {mask}: no such file, and this run writes one of that name itself; give another name or leave --mask out"
        )
    nearest = next(place for place in mask.resolve().parents if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UsageError(f"--mask {mask}: no such file, and nothing can be written to {nearest}")
    return False


def read_data(arguments: BackdoorArguments, checked: Checked) -> Job:
    """Load images, poison some, divide them, and build the model that training starts from."""
    run = arguments.run
    data = checked.chosen.load()
    base = prepare.base_split(data, run.seed, run.split_seed, run.compat)
    drawn_from = base.forget_split
    poison = Poison(
        choose_forget(data.train_labels, drawn_from.train, checked.scenario, run.seed),
        checked.target,
        arguments.trigger,
    )
    sets = image_sets(data, poison, drawn_from, base.val, checked.device)
    model = pretrain.new_model(arguments, checked, data)
    return Job(
        poison, words(checked, data, poison, len(drawn_from.train)), pretrain.Bench(data, drawn_from, sets, model)
    )


def words(checked: Checked, data: Dataset, poison: Poison, train: int) -> str:
    """The poison in words."""
    labels = checked.scenario.labels
    size = None if labels is None else sum(checked.chosen.train_counts[label] for label in labels)
    images = checked.scenario.words(len(poison.indices), train, size, data.classes)
    return f"{images} get a {poison.trigger.words} and label {poison.target} ({data.classes[poison.target]})"


def stamp(arguments: BackdoorArguments, checked: Checked, job: Job) -> dict[str, Any]:
    """What the checkpoints of this run say of the images that the model was trained on."""
    return {
        **pretrain.stamp(arguments, checked.chosen, job.bench.base),
        "poison_digest": job.poison.digest,
        "poison": job.words,
    }


def check_origin(arguments: BackdoorArguments, checked: Checked, job: Job) -> None:
    """Refuse a model that was trained on other images, or on others' poison, than this run would have it forget."""
    given, allowed = checked.given, arguments.unlearn.allow_split_mismatch
    start.check_split(given, job.bench.base, allowed)
    if given is None:
        return
    if "poison_digest" not in given.extra:
        print(f"warning: {given.path} does not say with which poison it was trained", file=sys.stderr)
    elif given.extra["poison_digest"] != job.poison.digest and not allowed:
        raise UsageError(
            f"--mask {given.path}: was trained with another poison ({given.extra['poison_digest']}: {given.extra['poison']}) than this run's "
            f"({job.poison.digest}: {job.words}); give the flags that it was trained with, or --allow_split_mismatch"
        )
