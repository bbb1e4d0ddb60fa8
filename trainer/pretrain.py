"""From a script's arguments to a trained model: what every script that trains from new weights shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import arg_parser
import models
import pruner
from dataset import prepare, sources, split_file
from dataset.images import Images
from dataset.split import BaseSplit
from pruner import Mask, Sample, passage
from trainer import given, position, rounds
from trainer.recipe import recipe
from utils import checkpoints, origin, preview, seeds
from utils.device import resolve
from utils.errors import UsageError
from utils.log import Log
from utils.run_folder import RunFolder, environment, fingerprint

SAMPLE_PER_CLASS = 25  # images of each class that a pruning score sees (the reference's number)


@dataclass(frozen=True)
class Checked:
    """What was found right before any image is read.

    Attributes:
        given: the checkpoint to go on from, or None.
        config: everything that decides the run's numbers, as plain data.
    """

    device: torch.device
    chosen: prepare.DatasetInfo
    given: checkpoints.Checkpoint | None
    config: dict[str, Any]


def check(arguments: Any) -> Checked:
    """Refuse what can be refused without reading data: device, data set, architecture, checkpoint.

    Args:
        arguments: with the groups data, model, run and resume.
    Raises:
        UsageError: names the flag.
    """
    run = arguments.run
    device = resolve(run.device, run.gpu, run.deterministic, run.no_fast_cpu)
    models.check(arguments.model.arch, arguments.model.imagenet_arch)
    chosen = prepare.find(
        arguments.data.dataset,
        arguments.data.data,
        arguments.data.input_size,
        arguments.data.stream,
        arguments.data.split,
    )
    blank, found = given.blank(arguments, chosen), None
    if arguments.resume.resume:
        found = given.read(arguments, chosen, arguments.resume.checkpoint, "--checkpoint")
        position.check_position(found, blank)
    config = arg_parser.deciding(arguments) | {**chosen.identity, "checkpoint": found and found.sha256}
    return Checked(device, chosen, found, config | models.origin(arguments.model.arch))


def open_folder(arguments: Any, checked: Checked, label: str) -> tuple[RunFolder, Log]:
    """The run's folder, cleared of other runs' files of the same names, and its log."""
    folder = RunFolder(
        Path(arguments.run.save_dir), label, fingerprint(checked.config), rounds.OUTPUTS, keep=checked.given is not None
    )
    return folder, Log(folder.path)


@dataclass(frozen=True)
class Bench:
    """Everything a training works on: data, its split, image sets "train", "val" and "test", a new model on the device."""

    data: sources.Dataset
    base: BaseSplit
    sets: dict[str, Images]
    model: torch.nn.Module


def read(arguments: Any, checked: Checked) -> Bench:
    """Load images, divide them, and build the model from ``--train_seed``."""
    run = arguments.run
    data = checked.chosen.load()
    base = prepare.base_split(data, run.seed, run.split_seed, run.compat)
    check_same_split(checked.given, base)
    views = prepare.Views(data, checked.device, arguments.data.workers, run.compat)
    sets = {"train": views.train(base.train), "val": views.val(base.val), "test": views.test(base.test)}
    if arguments.train.no_aug:
        sets = {name: images.plain() for name, images in sets.items()}
    return Bench(data, base, sets, new_model(arguments, checked, data))


def check_same_split(begin: checkpoints.Checkpoint | None, base: BaseSplit) -> None:
    """Refuse to go on with a training on another split, where ``--split`` decided one of the two.

    Raises:
        UsageError: names both splits.
    """
    known = {} if begin is None else begin.extra
    if None in (base.seed, known.get("split_seed", 0)) and known.get("split_digest") not in (None, base.digest):
        raise UsageError(
            f"--checkpoint {begin.path}: was trained on split {known['split_digest']}, this run divides the data into "
            f"{base.digest}; give the --split of its training"
        )


def new_model(arguments: Any, checked: Any, data: sources.Dataset) -> torch.nn.Module:
    """The model before any training, from ``--train_seed``, on the device.

    Args:
        checked: with ``chosen`` and ``device``.
    """
    seeds.seed_everything(arguments.run.train_seed)
    model = models.build(
        arguments.model.arch,
        len(data.classes),
        *given.statistics(arguments, data),
        arguments.model.imagenet_arch,
        checked.chosen.side,
        arguments.run.compat,
    )
    return model.to(checked.device)


def plan(arguments: Any) -> rounds.Plan:
    """The flags of pruning in rounds, by magnitude or at random, as a plan."""
    prune, run = arguments.prune, arguments.run
    return rounds.Plan(
        prune.pruning_times,
        prune.rate,
        prune.prune_type,
        prune.rewind_epoch,
        "random" if prune.random_prune else "magnitude",
        seed=run.train_seed,
        augmented_validation=run.compat == "reference",
        label_smoothing=arguments.train.label_smoothing,
    )


def prune_first(bench: Bench, score: str, rate: float, steps: int | None, seed: int, log: Log) -> Mask:
    """The mask of the new model by a pruning score, at ``rate``; nothing is pruned at rate 0."""
    if rate == 0:
        return {}
    mask = pruner.prune(bench.model, score, rate, sample(bench.sets["train"], seed), steps=steps)
    passage.warn(bench.model, mask, bench.sets["train"], log)
    return mask


def sample(images: Images, seed: int) -> Sample:
    """Unaugmented images of every class, drawn from ``seed``, for a pruning score to look at."""
    order = torch.randperm(len(images), generator=seeds.generator(seed, "score sample"))
    labels = images.labels.cpu()[order]
    chosen = torch.cat([order[labels == label][:SAMPLE_PER_CLASS] for label in labels.unique()])
    batch, labels = next(images.at(images.indices[chosen.to(images.indices.device)]).batches(len(chosen)))
    return Sample(seed, batch, labels)


def train(
    arguments: Any,
    checked: Checked,
    bench: Bench,
    plan: rounds.Plan,
    folder: RunFolder,
    log: Log,
    mask: Mask | None = None,
) -> None:
    """Carry the model through ``plan``, going on from a killed run, and write ``result.json``."""
    split_file.write(folder.path, bench.base.sets(len(bench.data.test_labels)), bench.base.digest)
    entries = {
        "fingerprint": folder.fingerprint,
        **stamp(arguments, checked.chosen, bench.base),
        "recipe": recipe_of(f"main_{folder.label}.py", checked),
    }
    sizes = {name: len(images) for name, images in bench.sets.items()}
    facts = {
        "label": folder.label,
        "script": f"main_{folder.label}.py",
        "config": checked.config,
        "split": {"digest": bench.base.digest, "seed": bench.base.seed, **sizes},
        "model": {"arch": arguments.model.arch, "parameters": sum(p.numel() for p in bench.model.parameters())},
        "device": str(checked.device),
        "environment": environment(),
    }
    with folder.failing(facts):
        summaries, _ = carry(arguments, bench, plan, rounds.Names(folder.path), entries, log, checked.given, mask)
    folder.finish({**facts, "status": "done", "rounds": summaries})


def carry(
    arguments: Any,
    bench: Bench,
    plan: rounds.Plan,
    names: rounds.Names,
    entries: dict[str, Any],
    log: Log,
    begin: checkpoints.Checkpoint | None = None,
    mask: Mask | None = None,
) -> tuple[list[dict[str, Any]], Mask]:
    """Carry the model through ``plan``, going on from a killed run, or else from ``begin``.

    Args:
        entries: of every checkpoint; a run is known by their ``fingerprint``.
        mask: what is kept from the start.
    Returns:
        One summary per round, and the mask of the last one; the model has the weights that it ended with.
    """
    flags = arguments.train
    training = rounds.Rounds(
        bench.model, recipe(flags, flags.epochs, flags.lr), plan, bench.sets, names, entries, log, mask
    )
    last = rounds.latest(names, plan.rounds, entries["fingerprint"], bench.model) or begin
    if last is not None:
        training.resume(last)
        log.line(f"going on from {last.path}: round {training.at.round}, epoch {last.extra['epoch']}")
    return training.run(), training.at.mask


def stamp(arguments: Any, chosen: prepare.DatasetInfo, base: BaseSplit) -> dict[str, Any]:
    """What every checkpoint says of the model and of the images that it was trained on."""
    return {"split_digest": base.digest, "split_seed": base.seed, "origin": origin.of(arguments, chosen, base.seed)}


def recipe_of(script: str, checked: Checked) -> dict[str, Any]:
    """How a model is trained but for its seeds, as plain data: models of equal recipes and different seeds may be averaged in a table."""
    run = {key: value for key, value in checked.config["run"].items() if key not in ("seed", "train_seed")}
    given = checked.given and checked.given.extra.get("recipe", "unknown")
    return {"script": script, **checked.config, "run": run, "checkpoint": given}


def intended(arguments: Any, checked: Checked, label: str) -> dict[str, str]:
    """What ``--dry_run`` says: what would be read, trained and written, and what of it is there."""
    given = {} if checked.given is None else {"go on from": str(checked.given.path)}
    return {
        "read": preview.data(checked.chosen),
        "model": f"{arguments.model.arch}, new weights",
        **given,
        "training": arg_parser.steps(arguments.train),
        **(
            {}
            if getattr(arguments.prune, "pruning_times", 2) == 1
            else {"pruning": arg_parser.settings(arguments.prune)}
        ),
        "run": preview.run(arguments, checked.device),
        "write": preview.folder(arguments, label, checked.config, rounds.OUTPUTS),
        **preview.not_read(arguments),
    }


def header(arguments: Any, checked: Checked, bench: Bench, folder: RunFolder) -> dict[str, str]:
    """What is trained, on what, with which numbers."""
    data = bench.data
    sizes = "  ".join(f"{name} {len(images):,}" for name, images in bench.sets.items())
    facts = {
        "data": f"{data.name}, {len(data.classes)} classes, {data.words}; {sizes}",
        **data.notes,
        "split": bench.base.words,
        "model": f"{arguments.model.arch}, {sum(p.numel() for p in bench.model.parameters()):,} parameters",
        "training": arg_parser.settings(arguments.train),
        **given.provenance(arguments, checked.given),
        "run": f"setup random seed = {arguments.run.train_seed}  compat {arguments.run.compat}  device {checked.device}",
        "folder": str(folder.path),
    }
    if arguments.unread:
        facts["not read"] = ", ".join(arguments.unread)
    return facts
