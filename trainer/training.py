"""Training from new weights, with pruning before it or between its rounds: ``main_imp.py`` and ``main_synflow.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch

import models
import pruner
from dataset.images import Images
from dataset.split import BaseSplit
from pruner import Mask, Sample, passage
from report import text
from trainer import best_epochs, checkpoints, margins, messages, network, position, rounds
from trainer.checkpoints import Checkpoint
from trainer.pipeline import Place, Stages
from trainer.problem import Problem, load, stamp, views
from trainer.recipe import recipe
from trainer.rounds import Files, Plan
from trainer.setup import Setup, inputs, shared
from trainer.training_flags import Prune, PruneAtStart, Train, TrainingArguments
from utils import seeds
from utils.errors import UsageError
from utils.log import Log
from utils.options import identity
from utils.result import Result
from utils.run_flags import SEEDS, Run

SAMPLE_PER_CLASS = 25  # images of each class that a pruning score sees (the reference's number)


@dataclass(frozen=True, kw_only=True)
class TrainingSetup(Setup):
    """A training before its data are read.

    Attributes:
        train, prune: the flags of training and pruning.
        plain: train without augmentation.
        checkpoint: the checkpoint to go on from; None for new weights.
        best: by round, best epochs beside the checkpoint that the run copies.
    """

    train: Train
    prune: Prune | PruneAtStart
    plain: bool
    checkpoint: Checkpoint | None
    best: Mapping[int, Checkpoint]


def set_up(arguments: TrainingArguments) -> TrainingSetup:
    """Check device, data set, architecture and checkpoint without reading data.

    Raises:
        UsageError: one of them cannot be used.
    """
    device, dataset = inputs(arguments)
    built, checkpoint = network.new(arguments.model, dataset, arguments.run), None
    best: dict[int, Checkpoint] = {}
    if arguments.resume.checkpoint is not None:
        checkpoint = built.read(arguments.resume.checkpoint, "--checkpoint")
        position.check_position(checkpoint, built.fresh)
        position.check_optimizer(checkpoint, arguments.train)
        position.check_target(checkpoint, arguments.prune)
        position.check_mask(checkpoint, arguments.prune)
        best = best_epochs.beside(checkpoint, built, arguments.prune)
    config = identity(arguments) | {**dataset.identity, "checkpoint": checkpoint and checkpoint.sha256}
    prune, at_start = arguments.prune, isinstance(arguments.prune, PruneAtStart)
    return TrainingSetup(
        **shared(arguments, device, built),
        script="main_synflow.py" if at_start else "main_imp.py",
        label="synflow" if at_start else "imp",
        title=pruned_first(prune, checkpoint) if isinstance(prune, PruneAtStart) else pruned_later(prune),
        outputs=rounds.OUTPUTS,
        keep_files=checkpoint is not None,
        config=config | models.origin(arguments.model.arch),
        train=arguments.train,
        prune=prune,
        plain=arguments.train.no_aug,
        checkpoint=checkpoint,
        best=best,
    )


def read(setup: TrainingSetup) -> Problem:
    """Read and divide the images, and make the new model.

    Raises:
        UsageError: images cannot be read or divided, or the checkpoint was trained on another split.
    """
    data, base = load(setup)
    check_same_split(setup.checkpoint, base)
    if setup.checkpoint is not None:
        position.warn_of_target(setup.checkpoint, setup.prune)
    seen = views(setup, data)
    sets = {"train": seen.train(base.train), "val": seen.val(base.val), "test": seen.test(base.test)}
    if setup.plain:
        sets = {name: images.plain() for name, images in sets.items()}
    model = setup.network.model(data).to(setup.device)
    return Problem(data=data, base=base, sets=sets, model=model, stamp=stamp(setup, base))


def check_same_split(begin: Checkpoint | None, base: BaseSplit) -> None:
    """Refuse to go on with a training on another split, if ``--split`` decided one of the two splits.

    Raises:
        UsageError: names both splits.
    """
    if begin is None:
        return
    known = begin.extra
    if None in (base.seed, known.get("split_seed", 0)) and known.get("split_digest") not in (None, base.digest):
        raise UsageError(
            f"--checkpoint {begin.path}: was trained on split {known['split_digest']}, this run divides the data into "
            f"{base.digest}; give the --split of its training"
        )


def plan_of(train: Train, prune: Prune | PruneAtStart, run: Run) -> Plan:
    """The plan that the flags of training and pruning describe; pruning before training has one round."""
    each, augmented = recipe(train, train.epochs, train.lr), run.compat == "reference"
    if isinstance(prune, PruneAtStart):
        return Plan(each, 1, 0.0, "lt", 0, "magnitude", run.train_seed, augmented, train.label_smoothing)
    score = "random" if prune.random_prune else "magnitude"
    later = (prune.pruning_times, prune.rate, prune.prune_type, prune.rewind_epoch, score)
    return Plan(each, *later, run.train_seed, augmented, train.label_smoothing)


def facts(setup: TrainingSetup, problem: Problem) -> Result:
    """The entries of ``result.json`` that do not depend on how the run ends."""
    return setup.result(
        split={"digest": problem.base.digest, "seed": problem.base.seed, **problem.sizes},
        model={"arch": setup.arch, "parameters": parameters(problem.model)},
    )


def train(setup: TrainingSetup, problem: Problem, record: Result, place: Place) -> Result:
    """Train and prune by the plan, going on from where a killed run was, and complete ``record``."""
    stamp = {"fingerprint": setup.fingerprint, **problem.stamp, "recipe": recipe_of(setup.script, setup)}
    files = Files(place.folder.path, stamp, every=setup.run.checkpoint_every)
    mask, prune = {}, setup.prune
    if isinstance(prune, PruneAtStart) and setup.checkpoint is None:
        mask = prune_first(problem, prune.score, prune.rate, prune.steps, setup.run.train_seed, place.log)
    plan, begin = plan_of(setup.train, prune, setup.run), setup.checkpoint
    trained, _ = run_plan(problem, plan, files, place.log, begin, mask, setup.best)
    if setup.save_outputs:
        leave_outputs(setup, problem, place, {"rounds": trained})
    return replace(record, rounds=trained)


def leave_outputs(setup: TrainingSetup, problem: Problem, place: Place, result: dict[str, Any]) -> None:
    """Write ``outputs.npz`` for the models of every round; files of all rounds but the last begin with their number.

    Methods start from the best weights of a round or from those of its last epoch, so both get a file.

    Raises:
        UsageError: a model's file is missing or belongs to another run.
    """
    folder, base, rounds = place.folder.home, problem.base, result["rounds"]
    forget = np.zeros(0, np.int64) if base.forget is None else base.forget
    retain = np.setdiff1d(base.train, forget)
    for one, kind in product(rounds, ("best", "last")):
        checkpoint, last_epoch = folder / one[kind], kind == "last"
        margins.check_own(checkpoint, setup.fingerprint)
        checkpoints.load_weights(problem.model, checkpoints.read(checkpoint, "--save_outputs"))
        run = f"{setup.fingerprint}-{one['round']}" + (f"-{kind}" if last_epoch else "")
        part = margins.Part(retain, forget, "original", run, *margins.numbers(setup, base))
        name = margins.file_of(one["round"], len(rounds), last_epoch)
        margins.save(folder / name, problem.model, problem, part)


def prune_first(problem: Problem, score: str, rate: float, steps: int | None, seed: int, log: Log) -> Mask:
    """The mask of the new model after pruning by a score; empty at rate 0.

    Args:
        score: name of a pruning score.
        rate: fraction of the weights to prune.
        steps: number of exponential steps; None for the score's own.
        seed: seeds the sample of images and the score.
    """
    if rate == 0:
        return {}
    mask = pruner.prune(problem.model, score, rate, sample(problem.sets["train"], seed), steps=steps)
    passage.warn(problem.model, mask, problem.sets["train"], log)
    return mask


def sample(images: Images, seed: int) -> Sample:
    """At most 25 unaugmented images of every class, drawn from ``seed``, for a pruning score."""
    order = torch.randperm(len(images), generator=seeds.generator(seed, "score sample"))
    labels = images.labels.cpu()[order]
    picked = torch.cat([order[labels == label][:SAMPLE_PER_CLASS] for label in labels.unique()])
    batch, labels = next(images.at(images.indices[picked.to(images.indices.device)]).batches(len(picked)))
    return Sample(seed, batch, labels)


def run_plan(
    problem: Problem,
    plan: Plan,
    files: Files,
    log: Log,
    begin: Checkpoint | None = None,
    mask: Mask | None = None,
    best: Mapping[int, Checkpoint] | None = None,
) -> tuple[list[dict[str, Any]], Mask]:
    """Train and prune the problem's model by a plan, going on from where a killed run was, or else from ``begin``.

    Args:
        files: where checkpoints are written, and where those of a killed run are.
        begin: another run's checkpoint to go on from; None for the model's own weights.
        mask: boolean tensors by parameter name, True where a weight is kept from the start; None for a dense model.
        best: best epochs of ``begin``'s training by round, to be copied.
    Returns:
        One summary per round, and the mask of the last one; the model has the weights of the last epoch.
    """
    training = rounds.Rounds(problem.model, plan, problem.sets, files, log, mask)
    own = rounds.latest(files, plan.rounds, problem.model)
    if own is not None:
        training.resume(own)
    elif begin is not None:
        training.begin(begin, best or {})
    if (last := own or begin) is not None:
        log.line(f"going on from {last.path}: round {training.at.round}, epoch {last.extra['epoch']}")
    return training.run(), training.at.mask


def recipe_of(script: str, setup: TrainingSetup) -> dict[str, Any]:
    """How a model is trained, without its seeds, as plain data; tables average models of equal recipes."""
    run = {key: value for key, value in setup.config["run"].items() if key not in SEEDS}
    begun = setup.checkpoint and setup.checkpoint.extra.get("recipe", "unknown")
    return {"script": script, **setup.config, "run": run, "checkpoint": begun}


def parameters(model: torch.nn.Module) -> int:
    """Number of parameters of a model, counted one by one."""
    return sum(parameter.numel() for parameter in model.parameters())


def preview(setup: TrainingSetup) -> dict[str, str]:
    """Lines of ``--dry_run`` by title: what would be read, trained and pruned."""
    once = isinstance(setup.prune, Prune) and setup.prune.pruning_times == 1
    return {
        "read": messages.data(setup.dataset),
        "model": f"{setup.arch}, new weights",
        **({} if setup.checkpoint is None else {"go on from": str(setup.checkpoint.path)}),
        "training": messages.steps(setup.train),
        **({} if once else {"pruning": messages.settings(setup.prune)}),
        **rewinding(setup.prune),
    }


def header(setup: TrainingSetup, problem: Problem) -> dict[str, str]:
    """Lines of the header by title: model, data and settings."""
    data, run = problem.data, setup.run
    return {
        "data": f"{data.name}, {len(data.classes)} classes, {data.words}; {messages.sizes(problem.sizes)}",
        **data.notes,
        "split": problem.base.words,
        "model": f"{setup.arch}, {parameters(problem.model):,} parameters",
        "training": messages.settings(setup.train),
        **rewinding(setup.prune),
        **messages.provenance(setup, setup.checkpoint),
        "run": f"setup random seed = {run.train_seed}{messages.init_seed(run)}  compat {run.compat}  "
        f"device {setup.device}",
    }


def show(setup: TrainingSetup, result: dict[str, Any], log: Log) -> None:
    """Print one line per round."""
    log.line()
    log.line(text.rounds(result["rounds"]))


def pruned_later(prune: Prune) -> str:
    """Pruning between rounds of training, in words."""
    if prune.pruning_times == 1:
        return "dense training"
    by = "at random" if prune.random_prune else "by global magnitude (l1)"
    left = (1 - prune.rate) ** (prune.pruning_times - 1)
    kind = "OMP" if prune.pruning_times == 2 else "IMP"
    return (
        f"{kind}: dense training, then {prune.pruning_times - 1} x prune {100 * prune.rate:g} % of what is left {by} "
        f"and train again; the last round keeps {100 * left:.2f} % of the prunable weights"
    )


def pruned_first(prune: PruneAtStart, checkpoint: Checkpoint | None) -> str:
    """Pruning before training, in words; a checkpoint to go on from is pruned already."""
    if checkpoint is not None:
        return f"training that goes on with {100 * pruner.density(checkpoint.mask):.2f} % of the prunable weights"
    if prune.rate == 0:
        return "dense training"
    steps = "" if prune.steps is None else f" in {prune.steps} steps"
    return f"prune {100 * prune.rate:g} % of the new network's prunable weights by {prune.score}{steps}, then train"


def rewinding(prune: Prune | PruneAtStart) -> dict[str, str]:
    """The weights to which pruning rewinds, in words, as a line by title; empty without rewinding."""
    if isinstance(prune, PruneAtStart) or prune.pruning_times == 1:
        return {}
    target = {
        "lt": "the initial weights",
        "pt": "the best dense weights",
        "rewind_lt": f"those after epoch {prune.rewind_epoch}",
    }
    return {"rewind to": target[prune.prune_type]}


STAGES = Stages(set_up, preview, read, header, facts, train, show, leave_outputs)
