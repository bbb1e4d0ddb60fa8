"""The checked inputs of ``main_backdoor.py``, before an image is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
from backdoor.backdoor_flags import BackdoorArguments, PoisonedPrune
from dataset.prepare import DatasetInfo
from dataset.scenario import Scenario, number_of
from dataset.trigger import MARGIN, Trigger
from trainer import network, rounds
from trainer.setup import inputs, shared
from trainer.training_flags import Train, check_counterpart
from unlearn import registry
from unlearn.unlearn_setup import UnlearnSetup, about, check_validation, starting
from utils.errors import UsageError
from utils.options import describe, identity
from utils.run_folder import fingerprint

CURVE = ["backdoor.md", "backdoor.csv", "backdoor.png"]


@dataclass(frozen=True, kw_only=True)
class CleanseSetup(UnlearnSetup):
    """The checked inputs of a cleanse. Its ``checkpoint`` is None if the poisoned model has to be trained.

    Attributes:
        train: flags of training.
        prune: flags of pruning.
        trigger: the square that is put on poisoned images.
        scenario: which images are poisoned.
        target: number of the class that triggered images are to be taken for.
        training: fingerprint of everything that decides the training's numbers.
        typed: every flag as typed, without ``--sparsities`` and ``--save_dir``.
    """

    train: Train
    prune: PoisonedPrune
    trigger: Trigger
    scenario: Scenario
    target: int
    training: str
    typed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CurveSetup(CleanseSetup):
    """Several cleanses whose models share one dense training.

    Attributes:
        dense: the inputs of the training that they share.
        points: the inputs of each cleanse, one per sparsity.
    """

    dense: CleanseSetup
    points: tuple[CleanseSetup, ...]


def set_up(arguments: BackdoorArguments) -> CleanseSetup:
    """Check everything that can be checked without reading data: device, data set, poison, architecture, checkpoint.

    Raises:
        UsageError: inputs are wrong or do not fit each other.
    """
    setup = _one(arguments)
    if arguments.sparsities is None:
        return setup
    dense, *points = (_one(arguments.at(sparsity)) for sparsity in (0.0, *arguments.sparsities))
    return CurveSetup(
        **{
            **vars(setup),
            "label": "curve",
            "title": f"{setup.method.name} at sparsity {describe(arguments.sparsities)}",
            "outputs": CURVE,
            "temporary": (),
            "parts": {"training": (dense.training, rounds.OUTPUTS)},
        },
        dense=dense,
        points=tuple(points),
    )


def _one(arguments: BackdoorArguments) -> CleanseSetup:
    flags, hyper, method = arguments.unlearn, arguments.hyper, registry.get(arguments.unlearn.unlearn)
    device, dataset = inputs(arguments)
    if dataset.source.streamed:
        raise UsageError(
            f"--dataset {dataset.source.name}: images are poisoned in memory, and these are read from disk as needed; "
            "use another data set"
        )
    target = target_class(arguments.target, dataset)
    check_trigger(arguments.trigger, dataset.side)
    check_validation(method, dataset)
    if method.whole_classes:
        reason = "forgets whole classes alone, and poisoned images are copies of some images"
        raise UsageError(f"--unlearn {method.name}: {reason}; give another method")
    scenario = dataset.resolve(arguments.scenario)
    if scenario.labels == (target,):
        raise UsageError(f"{arguments.scenario.typed}: is the target itself; must be another class than --target_label")
    built, checkpoint = network.new(arguments.model, dataset, arguments.run), None
    if flags.mask is not None and is_there(Path(flags.mask), Path(arguments.run.save_dir or ""), method):
        checkpoint = built.read(flags.mask, "--mask")
    start, digest = starting(flags.mask, flags.allow_split_mismatch, hyper, built, checkpoint)
    decides = identity(arguments) | {"scenario": scenario.facts(), "target": target, **dataset.identity}
    decides |= models.origin(arguments.model.arch)
    training = fingerprint(_without(decides, "unlearn", "hyper", "sparsities"))
    config = decides | {"method": method.name, "rewind": start["rewound"] and start["rewound"].sha256}
    config |= {"saliency": digest} if digest else {}
    if arguments.sparsities is not None:
        config["prune"] = _without(config["prune"], "rate")
    remarks: tuple[str, ...] = ()
    if checkpoint is not None and checkpoint.extra.get("trained") != training:  # written by other flags of training
        remarks = idle_flags(arguments)
        config = _without(config, "train", "prune") | {"checkpoint": checkpoint.sha256}
    return CleanseSetup(
        **shared(arguments, device, built),
        **about(method, "main_backdoor.py", method.outputs),
        config=config,
        keep_files=flags.resume,
        parts={} if checkpoint is not None else {"training": (training, rounds.OUTPUTS)},
        remarks=remarks,
        **start,
        train=arguments.train,
        prune=arguments.prune,
        trigger=arguments.trigger,
        scenario=scenario,
        target=target,
        training=training,
        typed=arguments.typed,
    )


def _without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in names}


def idle_flags(arguments: BackdoorArguments) -> tuple[str, ...]:
    """Remarks on typed flags of training that are not read because the model is trained already.

    Raises:
        UsageError: such a flag was probably meant for its counterpart of unlearning.
    """
    typed = {name: value for name, _, value in (word.removeprefix("--").partition("=") for word in arguments.typed)}
    read = set(type(arguments.hyper).__dataclass_fields__)
    idle = [name for name in typed if name in {*Train.__dataclass_fields__, *PoisonedPrune.__dataclass_fields__} - read]
    for name in idle:
        reader = f"--unlearn {arguments.unlearn.unlearn}, and the model of --mask is trained already"
        check_counterpart(name, typed, read, reader)
    listed = ", ".join(f"--{name}" for name in idle)
    return (f"not read: {listed}, as the model of --mask is trained already",) if idle else ()


def target_class(target: dict[str, str], dataset: DatasetInfo) -> int:
    """The number of the target class.

    Args:
        target: the class as typed, by flag, see ``BackdoorArguments``.
    Raises:
        UsageError: the class is unknown, or two flags name different classes.
    """
    classes = {number_of(word, dataset.names, flag) for flag, word in target.items()}
    if len(classes) > 1:
        both = " and ".join(f"{flag} {word}" for flag, word in target.items())
        raise UsageError(f"{both} both say which class is the target; give one")
    return classes.pop()


def check_trigger(trigger: Trigger, side: int) -> None:
    """Raise a ``UsageError`` if a trigger does not fit on images with ``side`` pixels."""
    if trigger.size > side - MARGIN:
        raise UsageError(
            f"--trigger_size {trigger.size}: must be at most {side - MARGIN}, {MARGIN} less than the images' {side} "
            "pixels"
        )


def is_there(mask: Path, save_dir: Path, method: registry.Method) -> bool:
    """Whether the file of ``--mask`` exists and is to be read. If not, the trained model is to be written there.

    Args:
        mask: path of the file.
        save_dir: the run's folder.
        method: the unlearning method.
    Raises:
        UsageError: it does not exist and cannot be written, or the run itself writes a file of that name.
    """
    if mask.exists():
        return True
    if mask.resolve().parent == save_dir.resolve() and any(
        mask.match(pattern) for pattern in rounds.OUTPUTS + method.outputs
    ):
        raise UsageError(
            f"--mask {mask}: no such file, and this run writes one of that name itself; give another name or leave "
            "--mask out"
        )
    nearest = next(place for place in mask.resolve().parents if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UsageError(f"--mask {mask}: no such file, and nothing can be written to {nearest}")
    return False
