"""The stages of ``main_generate.py train``, which trains a generator on all classes, or without some of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from generation import drawing
from generation.generation_flags import GenerateArguments, Pretraining
from generation.generator_setup import GeneratorProblem, GeneratorSetup, facts, header, preview, read, set_up
from trainer import checkpoints
from trainer.loop import Training
from trainer.pipeline import Place, Stages
from trainer.recipe import Recipe
from unlearn.context import Progress
from utils.log import Log
from utils.result import Result

GENERATORS = ("generator.pt", "generator")  # what a run leaves: a file for ddpm, a folder for the others
PROGRESS = "generator_progress.pt"
SAVE_EVERY = 1000  # steps within an epoch after which progress is written


def set_up_training(arguments: GenerateArguments) -> GeneratorSetup:
    """Check everything that can be checked without reading an image."""
    without = "" if arguments.scenario is None else " without the classes to forget"
    outputs = [*GENERATORS, PROGRESS, drawing.GRID]
    title = f"train a generator{without}"
    return set_up(arguments, label="generator", title=title, outputs=outputs, temporary=(PROGRESS,))


def train(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Train, from the progress of a killed run if there is any; write weights, their average and a grid of pictures."""
    flags: Pretraining = setup.arguments.settings
    progress = Progress(place.folder.path / PROGRESS, setup.fingerprint)
    training = Training(problem.model, recipe(flags, len(problem.sets["train"].sizes(flags.batch_size))), {})
    seconds = 0.0
    if progress.state is not None:
        problem.model.load_state_dict(progress.state["state_dict"])
        training.restore(progress.state)
        seconds = progress.state["seconds"]
        place.log.line(f"going on from epoch {training.epoch}")

    def save() -> None:
        state = {**training.state(), "state_dict": checkpoints.pack(problem.model, {})}
        progress.save(**state, seconds=seconds)

    task, seed = setup.task(flags.class_drop), setup.run.train_seed
    for log in training.run(problem.sets["train"], seed, task.mean, save=save, every=SAVE_EVERY):
        seconds += log.seconds
        with place.log.epoch("train", training.recipe.epochs, log):
            save()
    average = None if training.average is None else dict(training.average.module.state_dict())
    setup.generator.write(place.folder.path, problem.model, average, problem.stamp)
    training.finish()
    settings, classes, count = drawing.glance(setup)
    pictures = drawing.draw(problem.model, setup.schedule, classes, count, settings, setup.run.seed)
    drawing.write_grid(place.folder.path / drawing.GRID, pictures)
    return replace(known, seconds={"training": seconds}, measured={"loss": log.loss, "steps": flags.steps})


def recipe(flags: Pretraining, per_epoch: int) -> Recipe:
    """The flags as a training recipe.

    Args:
        per_epoch: steps in an epoch.
    """
    return Recipe(
        math.ceil(flags.steps / per_epoch),
        flags.lr,
        "adam",
        weight_decay=0.0,
        schedule="smooth" if flags.schedule == "cosine" else "constant",
        warmup=math.ceil(flags.warmup_steps / per_epoch),
        batch_size=flags.batch_size,
        steps=flags.steps,
        max_norm=flags.max_norm,
        ema_decay=flags.ema_decay,
    )


def show(setup: GeneratorSetup, result: dict[str, Any], log: Log) -> None:
    """Print the last loss, the number of steps, and where the generator is."""
    log.line(f"loss {result['loss']:.2f} after {result['steps']:,} steps; {setup.folder / setup.generator.file}")


STAGES = Stages(set_up_training, preview, read, header, facts, train, show)
