"""The stages of ``main_forget.py``: unlearn, score, compare with the original and the retrained model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

import pruner
from dataset.data_flags import Data, Forget
from evaluation import run_scores
from evaluation.populations.outputs import NAME
from evaluation.predict import predict_all
from report import text, verdict
from report.row_names import ADAPTED
from trainer import margins, messages
from trainer.pipeline import Place, Stages
from trainer.training import parameters
from trainer.training_flags import Model
from unlearn import further_scores, incompetent, registry
from unlearn.forget_problem import ForgetProblem, context, read
from unlearn.session import Session, own_folder
from unlearn.unlearn_setup import ForgetSetup, set_up
from utils.errors import UsageError
from utils.log import Log
from utils.options import describe
from utils.result import Result
from utils.run_flags import Apart, Keep, Run


def facts(setup: ForgetSetup, problem: ForgetProblem) -> Result:
    """The entries of ``result.json`` that do not depend on how the run ends."""
    stored = {} if setup.checkpoint is None else setup.checkpoint.extra
    split, scenario = problem.split, setup.scenario
    kind = scenario.kind(len(split.whole_subclasses if scenario.subclass else split.whole_classes))
    model = {"arch": setup.arch, "dataset": problem.data.name, "sparsity": pruner.sparsity(problem.mask)}
    model |= {"checkpoint": setup.mask_file, "recipe": stored.get("recipe")}
    return setup.unlearning_result(
        seeds=setup.seeds,
        paper_name=setup.method.paper + (ADAPTED if setup.adapters else ""),
        scenario={"kind": kind, "words": forgotten(setup, problem), **setup.scenario.facts()},
        split={"digest": split.digest, "base_digest": split.base_digest, **problem.sizes},
        model=model | {"round": stored.get("state") if "recipe" in stored else None},
        adapters=setup.adapters and setup.adapters.facts(),
    )


def unlearn(setup: ForgetSetup, problem: ForgetProblem, record: Result, place: Place) -> Result:
    """Unlearn, run the model once over every set, and compute all scores from its outputs."""
    part = part_of(setup, problem) if setup.save_outputs else None
    session = Session(setup, place.folder, problem.stamp)
    handed = context(setup, problem.data, problem.mask, setup.scenario, problem.split, place.log, session.progress)
    unlearned = session.run(problem.model, problem.sets, handed)
    first = verdict.original(record.plain(), place.folder.path)
    others = models_to_compare(setup, problem, scored=first is not None)
    outputs, *others_outputs = predict_all([unlearned.model, *others.values()], problem.sets)
    compared, compat = dict(zip(others, others_outputs)), setup.run.compat
    scores = run_scores.score(
        outputs,
        compat,
        compared.get("retrained"),
        setup.method.trains_on_val,
        random=incompetent.outputs(unlearned.model, problem.sets, setup.apart.eval_seed),
        weights=weights_of({"unlearned": unlearned.model, **others}),
        seed=setup.apart.eval_seed,
    )
    session.save(unlearned, run_scores.reference_result(scores))
    if part is not None:
        margins.save(place.folder.path / NAME, unlearned.model, problem, part, outputs)
    place.log.record("scores", **scores)
    if remark := run_scores.left_out(scores):
        place.log.line(remark)
    adapters = setup.adapters
    trained = adapters.total if adapters and adapters.stored_separately else parameters(unlearned.model)
    sides = {name: run_scores.four(predictions, compat) for name, predictions in compared.items()}
    return replace(
        record,
        model=(record.model or {}) | {"sparsity_after": pruner.sparsity(unlearned.mask), "parameters": trained},
        seconds={"unlearning": unlearned.seconds},
        memory={"unlearning": unlearned.memory},
        original=sides.get("original", first.scores if first else None),
        retrained=sides.get("retrained"),
        scores=run_scores.paper_scores(scores, unlearned.seconds),
        units="fractions in [0, 1]; RTE in minutes; memory in bytes",
        accuracy=scores.pop("accuracy"),
        measured=scores,
    )


def weights_of(models: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """The parameters of each model by name."""
    return {name: {key: value.detach() for key, value in one.named_parameters()} for name, one in models.items()}


def part_of(setup: ForgetSetup, problem: ForgetProblem) -> margins.Part:
    """The entries of ``outputs.npz`` besides the margins.

    Raises UsageError: the model to unlearn was trained on images that are neither retained nor forgotten.
    """
    split = problem.split
    if not np.array_equal(np.union1d(split.retain, split.forget), np.sort(split.train)):
        reason = "the model was trained on images that are neither retained nor forgotten"
        raise UsageError(
            f"--save_outputs: {reason}; with --compat reference, give --split_seed 1 and --seed 1, or --no_val"
        )
    kind = "retrained" if setup.method.name == "retrain" else "unlearned"
    about = margins.numbers(setup, problem.base, setup.scenario)
    return margins.Part(split.retain, split.forget, kind, setup.fingerprint, *about)


def leave_outputs(setup: ForgetSetup, problem: ForgetProblem, place: Place, result: dict[str, Any]) -> None:
    """Write ``outputs.npz`` of a finished run beside its result, from the stored model.

    Raises:
        UsageError: the model's file is missing or belongs to another run.
    """
    folder = own_folder(setup, place.folder, "--save_outputs")
    handed = context(setup, problem.data, problem.mask, setup.scenario, problem.split, place.log)
    unlearned = Session(setup, place.folder, problem.stamp, folder).stored(problem.model, handed, "--save_outputs")
    assert unlearned is not None, "its file was there"
    margins.save(place.folder.home / NAME, unlearned.model, problem, part_of(setup, problem))


def models_to_compare(setup: ForgetSetup, problem: ForgetProblem, scored: bool) -> dict[str, nn.Module]:
    """The models that the unlearned one is compared with, by name: "original" and "retrained".

    Args:
        scored: whether a run beside this one has the original's scores.
    """
    others, first = {"retrained": setup.reference}, setup.checkpoint
    if not scored and first is not None and first.weights and setup.method.name != verdict.UNTOUCHED:
        others["original"] = first
    return {
        name: setup.network.model(problem.data, one).to(setup.device) for name, one in others.items() if one is not None
    }


def forgotten(setup: ForgetSetup, problem: ForgetProblem) -> str:
    """The images to forget, in words."""
    split, scenario = problem.split, setup.scenario
    number, size = len(split.forget), split.count(problem.data.labels_for(scenario), scenario.labels)
    return scenario.words(number, number + len(split.retain), size, setup.dataset.names_for(scenario))


def preview(setup: ForgetSetup) -> dict[str, str]:
    """Lines of ``--dry_run`` by title: what would be read and forgotten."""
    density = f", keeps {100 * pruner.density(setup.mask):.2f} % of its prunable weights" if setup.mask else ", dense"
    fresh, file = setup.method.fresh, setup.mask_file
    origin = "new weights" if fresh else f"the weights in {file}"
    pruned = f" under the mask of {file}" if fresh and file else ""
    return {
        "read": messages.data(setup.dataset),
        "model": f"{setup.arch}, starts from {origin}{pruned}{density}",
        "forget": messages.images(setup.dataset, setup.scenario),
        "method": messages.steps(setup.hyper),
        **({"adapters": setup.adapters.words()} if setup.adapters else {}),
    }


def header(setup: ForgetSetup, problem: ForgetProblem) -> dict[str, str]:
    """Lines of the header by title: images to forget, data, model and settings."""
    data, split, run = problem.data, problem.split, setup.run
    forgotten_whole = {"class": split.whole_classes, "subclass": split.whole_subclasses}
    gone = " and ".join(f"{noun} {', '.join(map(str, labels))}" for noun, labels in forgotten_whole.items() if labels)
    left_out = f" ({gone} left out of test)" if gone else ""
    origin = f"new weights, mask of {setup.mask_file}" if setup.method.fresh else str(setup.mask_file)
    return {
        "forget": forgotten(setup, problem),
        "data": f"{data.name}, {data.words}; {messages.sizes(problem.sizes)}{left_out}",
        **data.notes,
        "split": f"base digest {problem.base.digest}, with forget and retain {split.digest}",
        "model": f"{setup.arch}, * remain weight ratio = {100 * pruner.density(problem.mask):.2f} %, {origin}",
        **messages.provenance(setup, setup.checkpoint, setup.rewound, setup.reference),
        "method": messages.settings(setup.hyper) or "no hyper-parameters",
        **({"adapters": setup.adapters.words()} if setup.adapters else {}),
        "run": f"setup random seed = {run.seed}  compat {run.compat}  device {setup.device}",
    }


def show(setup: ForgetSetup, result: dict[str, Any], log: Log) -> None:
    """Print accuracies, with ``--verbose`` every attack, and the three models side by side."""
    first, exact = verdict.original(result, setup.folder), verdict.retrained(result, setup.folder)
    attacks = ["", *text.attacks(result)] if setup.verbose else []
    for line in ["", *text.accuracies(result), *attacks, "", verdict.table(result, first, exact), ""]:
        log.line(line)
    for line in verdict.sentences(result, first, exact, setup.dataset.classes):
        log.line(line)
    if exact is None and result["method"] != "retrain":
        log.line(f"no Retrain to compare with: {retrain_command(setup)}")


def retrain_command(setup: ForgetSetup) -> str:
    """The command of the retrained model: the same data, model and scenario, trained like the original."""
    groups = (Data, Model, Run, Apart, Keep, Forget)
    names = {"mask", *(name for config in groups for name in config.__dataclass_fields__)}
    names -= {"save_dir", "dry_run", "allow_pickle"}
    words = [word for word in setup.typed if word.removeprefix("--").partition("=")[0] in names]
    recipe = {} if setup.checkpoint is None else setup.checkpoint.extra.get("recipe") or {}
    defaults = asdict(registry.get("retrain").config())
    for name, value in (recipe.get("train") or {}).items():
        flag = {"epochs": "unlearn_epochs", "lr": "unlearn_lr"}.get(name, name)
        value = tuple(value) if isinstance(value, list) else value
        if flag in defaults and value is not None and value != defaults[flag]:
            words.append(f"--{flag}" if value is True else f"--{flag}={describe(value)}")
    folder = setup.folder.parent / "retrain"
    return shlex.join(["python", "main_forget.py", "--unlearn", "retrain", *words, "--save_dir", str(folder)])


STAGES = Stages(set_up, preview, read, header, facts, unlearn, show, leave_outputs, further_scores.add)
