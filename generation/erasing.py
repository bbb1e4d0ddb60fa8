"""The stages of ``main_generate.py forget``, which makes a generator forget classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from generation import drawing
from generation.generation_flags import Erase, GenerateArguments
from generation.generator_setup import GeneratorProblem, GeneratorSetup, facts, header, preview, read, set_up
from generation.pretraining import GENERATORS
from trainer.pipeline import Place, Stages
from unlearn import registry, saliency, saliency_masks
from unlearn.apply import apply
from unlearn.context import Context, Progress
from utils.log import Log
from utils.result import Result

PROGRESS = "forgetting_progress.pt"


def set_up_forgetting(arguments: GenerateArguments) -> GeneratorSetup:
    """Check everything that can be checked without reading an image, including the file of ``--saliency_mask``."""
    assert arguments.erase is not None
    method = registry.get(arguments.erase.unlearn)
    masks = [pattern for kind in saliency_masks.PREFIX for pattern in saliency_masks.outputs(kind)]
    outputs = [*GENERATORS, PROGRESS, drawing.GRID, *masks]
    setup = set_up(
        arguments, label=method.name, title=f"{method.name}: {method.summary}", outputs=outputs, temporary=(PROGRESS,)
    )
    if setup.scenario is not None:
        method.check_classes(setup.dataset.takes_all(setup.scenario))
    _, digest = saliency.from_flag(arguments.settings, setup.network.fresh, setup.run.allow_pickle)
    return setup if digest is None else replace(setup, config=setup.config | {"saliency_mask": digest})


def forget(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Unlearn, from the progress of a killed run if there is any; write the generator, and a grid before and after."""
    flags, run, config = setup.arguments.erase, setup.run, setup.arguments.settings
    assert flags is not None
    method, model = registry.get(flags.unlearn), problem.model
    progress = Progress(place.folder.path / PROGRESS, setup.fingerprint)
    handed = context(setup, problem, place, flags, progress)
    handed.update_mask, _ = saliency.from_flag(config, setup.network.fresh, run.allow_pickle)
    applied = apply(method, model, problem.sets, config, handed)
    unlearned: Any = applied.model
    stamp = problem.stamp | {"unlearn": method.name}
    setup.generator.write(place.folder.path, unlearned, None, stamp)
    progress.remove()
    way, classes, count = drawing.glance(setup)
    before, after = (drawing.draw(each, setup.schedule, classes, count, way, run.seed) for each in (model, unlearned))
    drawing.write_grid(place.folder.path / drawing.GRID, before, {"after": after})
    return replace(
        known,
        method=method.name,
        paper_name=method.paper,
        seconds={"unlearning": applied.seconds, "mask": handed.mask_seconds},
        memory={"unlearning": applied.memory},
    )


def context(
    setup: GeneratorSetup, problem: GeneratorProblem, place: Place, flags: Erase, progress: Progress | None = None
) -> Context:
    """The ``Context`` that a method gets besides the generator and the sets."""
    assert problem.split is not None and setup.scenario is not None
    return Context(
        mask={},
        device=setup.device,
        seed=setup.run.seed,
        compat=setup.run.compat,
        dataset=problem.data.name,
        classes=len(problem.data.classes),
        scenario=setup.scenario,
        whole_classes=problem.split.whole_classes,
        log=place.log,
        progress=progress or Progress(),
        task=setup.task(flags.class_drop, flags.stand_in),
        save_every=flags.save_every,
        folder=place.folder.path,
    )


def show(setup: GeneratorSetup, result: dict[str, Any], log: Log) -> None:
    """Print the seconds, and where generator and grid are."""
    grid, generator = setup.folder / drawing.GRID, setup.folder / setup.generator.file
    mask = result["seconds"].get("mask")
    beside = "" if mask is None else f", {mask:.1f} s of them for the mask"
    log.line(f"{result['seconds']['unlearning']:.1f} s{beside}; {generator}; before and after: {grid}")


STAGES = Stages(set_up_forgetting, preview, read, header, facts, forget, show)
