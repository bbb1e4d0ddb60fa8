"""Names the rows and columns of tables by the settings in which runs differ. Imports neither torch nor pandas."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

FILES = ("rewind_pth", "saliency_mask")  # hyper-parameters that name files
ADAPTED = " + LoRA"  # appended to a method's name in rows of runs with adapters
PRUNERS = ("OMP", "IMP", "random", "synflow", "snip", "grasp", "magnitude")  # what ``pruner_of`` can return
ORDER = ("Original", "Retrain", "FT", "GA", "FF", "IU", "l1-sparse")


@dataclass(frozen=True)
class Model:
    """A column of a table: a dense model, or one pruned to some sparsity.

    Attributes:
        name: "dense" or "95 % sparse", with the pruner where several reach the same sparsity.
        sparsity: pruned fraction of the prunable weights, in [0, 1]; None if no run has finished that knows it.
        pruner: one of ``PRUNERS``; empty for dense models and where it is unknown.
    """

    name: str
    sparsity: float | None
    pruner: str = ""


# --- columns ---


def recipe(result: dict[str, Any]) -> dict[str, Any] | None:
    """How a run's model was trained and pruned, without its seeds; None if its checkpoint does not say.

    For a dense round 0 the pruning flags are left out, since they did not affect the model. A network pruned before
    training is sparse in round 0.
    """
    stored = result["model"].get("recipe")
    if not stored:
        return stored
    if population := population_of(stored):
        stored = {**stored, "split": population}
    if result["model"].get("round") != 0 or result["model"]["sparsity"]:
        return stored
    return {key: stored[key] for key in stored if key != "prune"}


def population_of(config: dict[str, Any]) -> str | None:
    """NAME in ``--split NAME:S:J``, whose splits and forget sets form one population; None for other splits."""
    name, _, numbers = str(config.get("split") or "").partition(":")
    return name if re.fullmatch(r"\d+:\d+", numbers) else None


def models(results: list[dict[str, Any]]) -> dict[str, Model]:
    """The columns for these results, by ``_model_key``, sorted by sparsity and pruner.

    Args:
        results: contents of ``result.json`` files.
    """
    first = {_model_key(result): result for result in reversed(results) if not _without_checkpoint(result, results)}
    ordered = sorted(first.items(), key=lambda item: (item[1]["model"]["sparsity"], pruner_of(item[1]), item[0]))
    plain = [model_name(result["model"]["sparsity"]) for _, result in ordered]
    named = [
        f"{name} ({pruner_of(result)})" if plain.count(name) > 1 and pruner_of(result) else name
        for name, (_, result) in zip(plain, ordered)
    ]
    numbered = [
        f"{name} #{named[:place].count(name) + 1}" if named.count(name) > 1 else name
        for place, name in enumerate(named)
    ]
    rows = zip(numbered, ordered)
    return {key: Model(name, result["model"]["sparsity"], pruner_of(result)) for name, (key, result) in rows}


def models_of(result: dict[str, Any], columns: dict[str, Model]) -> list[str]:
    """Names of the columns that a result belongs to.

    That is its model's, or every dense one for a model retrained without a checkpoint.

    Args:
        columns: what ``models`` returned.
    """
    key = _model_key(result)
    return [columns[key].name] if key in columns else [model.name for model in columns.values() if model.sparsity == 0]


def _without_checkpoint(result: dict[str, Any], results: list[dict[str, Any]]) -> bool:
    """Whether the run retrained a dense model without a checkpoint, so that it belongs to every dense model here."""
    fresh = result["config"].get("checkpoint", "") is None and result["model"]["sparsity"] == 0
    return fresh and any(
        other["config"].get("checkpoint", "") is not None and other["model"]["sparsity"] == 0 for other in results
    )


def _model_key(result: dict[str, Any]) -> str:
    fresh = result["config"].get("checkpoint", "") is None
    return json.dumps([result["model"]["sparsity"], recipe(result), fresh], sort_keys=True)


def pruner_of(result: dict[str, Any]) -> str:
    """The name of the pruner of a run's model; empty for a dense one and where its checkpoint does not say."""
    stored = recipe(result) or {}
    prune = stored.get("prune", {})
    if not prune or result["model"]["sparsity"] == 0:
        return ""
    if "score" in prune:
        return prune["score"]
    return "random" if prune.get("random_prune") else "OMP" if prune.get("pruning_times") == 2 else "IMP"


def model_name(sparsity: float) -> str:
    """The name of a model of this sparsity (in [0, 1]): "dense", or "95 % sparse" for example."""
    return "dense" if sparsity == 0 else f"{100 * sparsity:.4g} % sparse"


# --- rows ---


def by_method(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Runs by row name. A method that was run with several settings on one model gets a row for each."""
    methods: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for result in results:
        methods.setdefault((result["method"], "adapters" in result), []).append(result)
    rows: dict[str, list[dict[str, Any]]] = {}
    taken = [members[0]["paper_name"] for members in methods.values()]
    for (method, _), members in methods.items():
        paper = members[0]["paper_name"]
        name = paper if taken.count(paper) == 1 else f"{paper} ({method})"
        per_model: dict[str, set[str]] = {}
        for result in members:
            per_model.setdefault(_model_key(result), set()).add(_hyper(result))
        if all(len(settings) == 1 for settings in per_model.values()):
            rows[name] = members
            continue
        varying = _varying([json.loads(setting) for setting in sorted({_hyper(result) for result in members})])
        for result in members:
            given = hyper(result)
            words = [f"{key} {given[key]}" for key in varying if given.get(key) is not None]
            rows.setdefault(", ".join([name, *words]), []).append(result)
    return dict(sorted(rows.items(), key=lambda item: (position(item[0]), item[0])))


def hyper(result: dict[str, Any]) -> dict[str, Any]:
    """A run's hyper-parameters, including those of adapters.

    A file's name is replaced by whether there is one, because every seed has a file of its own.
    """
    hyper = {**result["config"]["hyper"], **result["config"].get("lora", {})}
    return {key: bool(value) if key in FILES else value for key, value in hyper.items()}


def _hyper(result: dict[str, Any]) -> str:
    return json.dumps(hyper(result), sort_keys=True)


def _varying(settings: list[dict[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for setting in settings for key in setting)
    return [key for key in keys if len({json.dumps(setting.get(key)) for setting in settings}) > 1]


def position(name: str) -> int:
    """Place of a row's method in the paper's order, from 0; other methods share the last place."""
    first = name.split(",")[0].split(" (")[0].removesuffix(ADAPTED)
    return ORDER.index(first) if first in ORDER else len(ORDER)
