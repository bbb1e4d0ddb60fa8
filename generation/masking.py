"""The stages of ``main_generate.py saliency``, which writes masks of the weights salient for the classes to forget."""

from __future__ import annotations

from dataclasses import replace

from generation import erasing
from generation.generation_flags import Erase, GenerateArguments
from generation.generator_setup import GeneratorProblem, GeneratorSetup, facts, header, preview, read, set_up
from trainer.pipeline import Place, Stages
from unlearn import saliency_masks
from utils.result import Result


def set_up_masking(arguments: GenerateArguments) -> GeneratorSetup:
    """Check everything that can be checked without reading an image."""
    kind = arguments.settings.saliency
    title, outputs = saliency_masks.TITLE[kind], saliency_masks.outputs(kind)
    return set_up(arguments, label=f"saliency_{kind}", title=title, outputs=outputs)


def find(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Compute saliency and write a mask for every threshold."""
    handed = erasing.context(setup, problem, place, Erase())
    with handed.masking():
        masks = saliency_masks.store(setup.arguments.settings, problem.model, problem.sets, handed, place.folder.path)
    return replace(known, masks=masks, seconds={"mask": handed.mask_seconds})


STAGES = Stages(set_up_masking, preview, read, header, facts, find, saliency_masks.show)
