"""The stages of ``main_generate.py convert``, which turns Facebook's weights of DiT into a diffusers pipeline."""

from __future__ import annotations

from typing import Any

from generation.generation_flags import GenerateArguments
from generation.generator_setup import GeneratorProblem, GeneratorSetup, facts, header, preview, read, set_up
from trainer.pipeline import Place, Stages
from utils.log import Log
from utils.result import Result


def set_up_converting(arguments: GenerateArguments) -> GeneratorSetup:
    """Check the command line and the file of weights, which must be of a DiT in Facebook's form."""
    return set_up(arguments, label="generator", title="convert Facebook's weights of DiT", outputs=["generator"])


def convert(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Write the pipeline's folder."""
    setup.generator.write(place.folder.path, problem.model, None, {})
    return known


def show(setup: GeneratorSetup, result: dict[str, Any], log: Log) -> None:
    """Print where the generator is."""
    log.line(f"a pipeline of diffusers: {setup.folder / setup.generator.file}")


STAGES = Stages(set_up_converting, preview, read, header, facts, convert, show)
