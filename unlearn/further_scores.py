"""Scores that need more than outputs, added to the result of a finished run: relearn time and CKA."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dataset.images import Images
from evaluation.features import layer_grams
from evaluation.predict import accuracy_on
from evaluation.similarity import alignment
from pruner import Mask
from trainer.loop import Training
from trainer.pipeline import Place
from trainer.recipe import Recipe
from unlearn.forget_problem import ForgetProblem, context
from unlearn.layers import blocks
from unlearn.session import Session, own_folder
from unlearn.unlearn_setup import ForgetSetup
from utils import seeds

KNOWN_AGAIN = 0.95  # share of the original's accuracy on the forget set to reach by relearning
MOST = 1000  # most images of a set whose features are compared


def add(setup: ForgetSetup, read: Callable[[], ForgetProblem], place: Place, result: dict[str, Any]) -> None:
    """Measure the scores that are asked for but missing in the result, with the stored model, and add them to it.

    Args:
        read: reads the run's problem.
        result: the content of ``result.json``.
    Raises:
        UsageError: the model's file is missing or belongs to another run.
    """
    asked = setup.further
    relearned = {"at_most": asked.relearn_epochs, "lr": asked.relearn_lr, "seed": setup.apart.eval_seed}
    known = result.get("relearn") or {}
    chosen = {
        "relearn": asked.relearn_epochs and any(known.get(name) != value for name, value in relearned.items()),
        "CKA": asked.cka and "CKA" not in result,
    }
    if not any(chosen.values()):
        return
    flag = "--relearn_epochs" if chosen["relearn"] else "--cka"
    folder = own_folder(setup, place.folder, flag)
    problem = read()
    models, masks = _models(setup, problem, place, folder, flag)
    if chosen["relearn"]:
        place.log.line(f"relearning, at most {asked.relearn_epochs} epochs on the forget set for each of the models")
        place.folder.add({"relearn": relearned | relearn(models, problem.sets["forget"], masks, relearned)})
    if chosen["CKA"]:
        place.log.line(f"comparing features of at most {MOST:,} images of each set, block by block")
        place.folder.add({"CKA": similarity(models, problem.sets, setup.apart.eval_seed)})


def _models(
    setup: ForgetSetup, problem: ForgetProblem, place: Place, folder: Path, flag: str
) -> tuple[dict[str, nn.Module], dict[str, Mask]]:
    """The models "unlearned", "original" and "retrained", as far as they exist, and the mask of each."""
    handed = context(setup, problem.data, problem.mask, setup.scenario, problem.split, place.log)
    stored = Session(setup, place.folder, problem.stamp, folder).stored(copy.deepcopy(problem.model), handed, flag)
    assert stored is not None, "its file was there"
    known = {"original": setup.checkpoint, "retrained": setup.reference}
    others = {name: one for name, one in known.items() if one is not None and one.weights}
    models = {name: setup.network.model(problem.data, one).to(setup.device) for name, one in others.items()}
    masks = {"unlearned": stored.mask} | {name: one.mask for name, one in others.items()}
    return {"unlearned": stored.model, **models}, masks


def relearn(
    models: dict[str, nn.Module], forget: Images, masks: Mapping[str, Mask], settings: dict[str, Any]
) -> dict[str, Any]:
    """How many epochs on the forget set bring a model's accuracy on it to 95 % of the original's.

    Args:
        models: "original", "unlearned" and optionally "retrained"; not changed.
        masks: for each model boolean tensors by parameter name, False where a weight stays zero; a model without a mask
            is dense.
        settings: "at_most" (epochs), "lr" and "seed".
    Returns:
        ``target``, the accuracy to reach in [0, 1]. By model, the list ``accuracy`` before the first and after each
        epoch, and the number of ``epochs``, None if they did not suffice. ``AIN``, the unlearned model's epochs divided
        by the retrained one's, if both are known and the latter is not 0. Its ideal is 1; if it is far below 1, the
        model still knows the forget set.
    Source: relearn time, Golatkar et al. 2020; AIN, the anamnesis index of Chundawat et al. 2023 (Zero-shot machine
        unlearning), in epochs in place of steps.
    """
    target = KNOWN_AGAIN * accuracy_on(models["original"], forget, name="forget")
    result: dict[str, Any] = {"target": target}
    for name, model in models.items():
        if name != "original":
            rising = _accuracies(model, forget, masks.get(name, {}), target, settings)
            result[name] = {"epochs": len(rising) - 1 if rising[-1] >= target else None, "accuracy": rising}
    ours, exact = (result.get(name, {}).get("epochs") for name in ("unlearned", "retrained"))
    return result | ({"AIN": ours / exact} if ours is not None and exact else {})


def _accuracies(model: nn.Module, forget: Images, mask: Mask, target: float, settings: dict[str, Any]) -> list[float]:
    """Accuracy on the forget set before and after each epoch, until the target is reached."""
    accuracies, copied = [accuracy_on(model, forget, name="forget")], copy.deepcopy(model)
    if accuracies[0] >= target:
        return accuracies
    training = Training(copied, Recipe(settings["at_most"], settings["lr"], schedule="constant", milestones=()), mask)
    training.quiet = True
    for _ in training.run(forget, seeds.derive(settings["seed"], "relearn")):
        accuracies.append(accuracy_on(copied, forget, name="forget"))
        if accuracies[-1] >= target:
            break
    return accuracies


def similarity(models: dict[str, nn.Module], sets: dict[str, Images], seed: int) -> dict[str, Any]:
    """Linear CKA of every block's output with the same block's of the original and of the retrained model.

    Args:
        models: "unlearned", and "original" and "retrained" as far as they exist.
        sets: "forget", "retain" and "test"; at most 1,000 images of each are drawn.
        seed: seeds this draw.
    Returns:
        By the other model and the set: ``layers``, CKA in [0, 1] by name of the block, and their ``mean``, None if
        there are none. Blocks whose outputs do not vary are left out.
    Source: Nguyen et al. 2021 (Do wide and deep networks learn the same things?).
    """
    layers = blocks(models["unlearned"])
    similarities: dict[str, Any] = {name: {} for name in models if name != "unlearned"}
    for part in ("forget", "retain", "test"):
        order = torch.randperm(len(sets[part]), generator=seeds.generator(seed, "features", part))
        images = sets[part].plain().first(MOST, order)  # random, as the first ones could be of a single class
        grams = {name: layer_grams(one, layers, images) for name, one in models.items()}
        for name, sides in similarities.items():
            both = [layer for layer in layers if layer in grams["unlearned"] and layer in grams[name]]
            each = {layer: alignment(grams["unlearned"][layer], grams[name][layer]) for layer in both}
            each = {layer: value for layer, value in each.items() if value == value}
            sides[part] = {"layers": each, "mean": sum(each.values()) / len(each) if each else None}
    return similarities
