"""The stages of ``main_saliency.py``: write a saliency mask for every threshold, or SSD's importances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

import pruner
from dataset.images import Images
from trainer.pipeline import Place, Stages
from trainer.setup import Setup
from unlearn import dampening, importances, saliency
from unlearn.context import Context
from unlearn.forget_problem import ForgetProblem, context, read
from unlearn.forgetting import forgotten, header, preview
from unlearn.unlearn_flags import ForgetArguments, Saliency
from unlearn.unlearn_setup import ForgetSetup, set_up
from utils import memory
from utils.log import Log
from utils.result import Result

PREFIX = {"gradient": "with", "fisher": "fisher"}  # the references' file names
IMPORTANCES = {"SSD": "importances_SSD", "LFSSD": "importances_LFSSD"}
TITLE = {
    "gradient": "the weights with the largest gradients on the forget set",
    "fisher": "the weights with more Fisher information on the forget set than on the retain set",
    "SSD": "how much each weight matters for all training images, by squared gradients of the loss",
    "LFSSD": "how much each weight matters for all training images, by the length of the logits",
}


def set_up_saliency(arguments: ForgetArguments) -> ForgetSetup:
    """Check the inputs without reading data, as for the method raw; see ``unlearn_setup.set_up``."""
    kind = arguments.hyper.saliency
    return replace(
        set_up(arguments),
        script="main_saliency.py",
        label=f"saliency_{kind}",
        title=TITLE[kind],
        outputs=outputs(kind),
        temporary=(),
        reader="this script",
    )


def outputs(kind: str) -> list[str]:
    """Glob patterns of the files that ``--saliency`` with the value ``kind`` writes."""
    if kind in IMPORTANCES:
        return [f"{IMPORTANCES[kind]}.pt"]
    return [f"{PREFIX[kind]}_*.pt", *(saliency.FISHERS if kind == "fisher" else ())]


def facts(setup: ForgetSetup, problem: ForgetProblem) -> Result:
    """The entries of ``result.json`` that do not depend on how the run ends."""
    return setup.result(
        scenario={"words": forgotten(setup, problem), **setup.scenario.facts()},
        split={"digest": problem.split.digest, "base_digest": problem.split.base_digest},
    )


def find(setup: ForgetSetup, problem: ForgetProblem, record: Result, place: Place) -> Result:
    """Write a mask for every threshold, or the importances."""
    flags: Saliency = setup.hyper
    handed = context(setup, problem.data, problem.mask, setup.scenario, problem.split, place.log)
    pruner.MaskEnforcer(problem.model, problem.mask)
    if flags.saliency in IMPORTANCES:
        return replace(record, masks=_store_importances(flags.saliency, problem, handed, place))
    return replace(record, masks=store(flags, problem.model, problem.sets, handed, place.folder.path))


def store(flags: Saliency, model: nn.Module, sets: dict[str, Images], handed: Context, folder: Path) -> dict[str, str]:
    """Write a mask for every threshold, and with ``--saliency fisher`` the Fisher information on both sets.

    Args:
        sets: "forget" and "retain".
        handed: the context; its ``folder`` is set.
        folder: where the files are written.
    Returns:
        How many weights each mask lets change, in words, by name of the file.
    """
    forget, retain, settings = sets["forget"], sets["retain"], (flags.batch_size, flags.no_aug, handed)
    handed.folder = folder
    if flags.saliency == "gradient":
        with memory.steps(flags.batch_size):
            scores = saliency.gradient(model, forget, *settings)
        by_threshold = {density: saliency.largest(scores, density, handed.mask) for density in saliency.DENSITIES}
    else:
        scores = saliency.fisher_ratio(model, forget, retain, *settings)
        by_threshold = {ratio: saliency.at_least(scores, ratio, handed.mask) for ratio in saliency.RATIOS}
    masks = {f"{PREFIX[flags.saliency]}_{threshold}.pt": mask for threshold, mask in by_threshold.items()}
    for name, mask in masks.items():
        saliency.write(folder / name, mask)
    return {name: saliency.share(mask, handed.mask) for name, mask in masks.items()}


def _store_importances(kind: str, problem: ForgetProblem, handed: Context, place: Place) -> dict[str, str]:
    """Write SSD's or LFSSD's importances over both sets; returns the content in words, by name of the file."""
    problem.model.eval()
    forget, retain = problem.sets["forget"], problem.sets["retain"]
    values, count = dampening.of_both(problem.model, forget, retain, kind, handed)[1], len(forget) + len(retain)
    name = f"{IMPORTANCES[kind]}.pt"
    importances.write(place.folder.path / name, kind, values, problem.model, count)
    return {name: f"importances for {kind} over {count:,} images"}


def show(setup: Setup, result: dict[str, Any], log: Log) -> None:
    """Print how many weights each mask lets change."""
    for name, words in result["masks"].items():
        log.line(f"{name:<13} {words}")


STAGES = Stages(set_up_saliency, preview, read, header, facts, find, show)
