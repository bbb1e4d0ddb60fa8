"""The stages of ``main_generate.py forget``: make a generator forget classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from generation import drawing
from generation.generation_flags import GenerateArguments
from generation.generator_setup import GeneratorProblem, GeneratorSetup, facts, header, preview, read, set_up
from generation.pretraining import GENERATORS
from trainer.pipeline import Place, Stages
from unlearn import registry, saliency
from unlearn.apply import apply
from unlearn.context import Context, Progress
from utils.log import Log
from utils.result import Result

PROGRESS = "forgetting_progress.pt"


def set_up_forgetting(arguments: GenerateArguments) -> GeneratorSetup:
    """Refuse what can be refused without reading an image, the file of ``--saliency_mask`` included."""
    assert arguments.erase is not None
    method = registry.get(arguments.erase.unlearn)
    outputs = [*GENERATORS, PROGRESS, drawing.GRID]
    setup = set_up(
        arguments, label=method.name, title=f"{method.name}: {method.summary}", outputs=outputs, temporary=(PROGRESS,)
    )
    _, digest = saliency.from_flag(arguments.settings, setup.network)
    return setup if digest is None else replace(setup, config=setup.config | {"saliency_mask": digest})


def forget(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Unlearn, going on from a killed run; store the generator and draw a grid of before and after."""
    told, run, config = setup.arguments.erase, setup.run, setup.arguments.settings
    assert told is not None and problem.split is not None and setup.scenario is not None
    method, model = registry.get(told.unlearn), problem.model
    progress = Progress(place.folder.path / PROGRESS, setup.fingerprint)
    update_mask, _ = saliency.from_flag(config, setup.network)
    context = Context(
        mask={},
        device=setup.device,
        seed=run.seed,
        compat=run.compat,
        dataset=problem.data.name,
        classes=len(problem.data.classes),
        scenario=setup.scenario,
        whole_classes=problem.split.whole_classes,
        log=place.log,
        progress=progress,
        update_mask=update_mask,
        task=setup.task(told.class_drop, told.stand_in),
        save_every=told.save_every,
    )
    found = apply(method, model, problem.sets, config, context)
    unlearned: Any = found.model
    stamp = problem.stamp | {"unlearn": method.name}
    setup.generator.write(place.folder.path, unlearned, None, stamp)
    progress.remove()
    how, classes, count = drawing.glance(setup)
    before, after = (drawing.draw(each, setup.schedule, classes, count, how, run.seed) for each in (model, unlearned))
    drawing.write_grid(place.folder.path / drawing.GRID, before, {"after": after})
    return replace(
        known,
        method=method.name,
        paper_name=method.paper,
        seconds={"unlearning": found.seconds},
        memory={"unlearning": found.memory},
    )


def show(setup: GeneratorSetup, result: dict[str, Any], log: Log) -> None:
    """Print how long it took, and where the generator is."""
    grid, made = setup.folder / drawing.GRID, setup.folder / setup.generator.file
    log.line(f"{result['seconds']['unlearning']:.1f} s; {made}; before and after: {grid}")


STAGES = Stages(set_up_forgetting, preview, read, header, facts, forget, show)
