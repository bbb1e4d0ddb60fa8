"""Reads the models of a population study: all ``outputs.npz`` below some folders, by sparsity and method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.populations import outputs
from evaluation.populations.all_attacks import Models, standing_in
from evaluation.populations.outputs import Outputs
from report.row_names import by_method, hyper, model_name, position, pruner_of
from report.runs import SEARCH, SHAPES, TRAINING, Run, check, collect
from utils.errors import UsageError

ORIGINAL, RETRAIN = "Original", "Retrain"  # the rows of the controls
Density = tuple[str, float, str, str]  # architecture, sparsity, pruner and --compat


@dataclass(frozen=True, eq=False)
class Member:
    """A model of the study.

    Attributes:
        path: its file of outputs.
        outputs: what the file holds.
        result: content of the run's ``result.json``; that of a training is brought into the form of
            ``main_forget.py``, with ``arch``, ``sparsity`` and ``recipe`` in ``model``.
        checkpoint: a file's name: of a trained model, the file of its weights; of an unlearned one, the file that it
            started from.
    """

    path: Path
    outputs: Outputs
    result: dict[str, Any]
    checkpoint: str

    @property
    def density(self) -> Density:
        """What models must share to be compared: architecture, sparsity, pruner and ``--compat``."""
        model, compat = self.result["model"], self.result.get("compat") or self.result["config"]["run"]["compat"]
        return model["arch"], round(model["sparsity"], 3), pruner_of(self.result), compat


@dataclass(frozen=True, eq=False)
class Study:
    """All models that are attacked.

    Attributes:
        columns: the models by the name of their sparsity, "dense" or "95 % sparse" for example, dense ones first.
        dataset: name of the data set of all models.
        input_size: side in pixels to which its images are resized; None for their own size.
        data: a digest of all images and labels.
        remarks: notes for the tables, a sentence each.
    """

    columns: dict[str, Models]
    dataset: str
    input_size: int | None
    data: str
    remarks: list[str]


def read(folders: Iterable[Path]) -> Study:
    """Read all models below some folders. Links are followed, and each file is read once.

    Raises:
        UsageError: there is no model; one is damaged, without its result, or given twice; they are of several data
            sets; or a population lacks a model. The message names the file or the missing model.
    """
    places = list(folders)
    members = _members(places)
    if not members:
        names = ", ".join(map(str, places))
        raise UsageError(f"{names}: no {outputs.NAME} below it; give --save_outputs to the commands of its runs")
    _check_distinct(members)
    groups: dict[Density, list[Member]] = {}
    for member in members:
        groups.setdefault(member.density, []).append(member)
    titles = _titles(sorted(groups, key=lambda density: (density[1], density)))
    remarks: list[str] = []
    columns = {title: _arranged(title, groups[density], remarks) for density, title in titles.items()}
    data = members[0].result["config"]["data"]
    return Study(columns, data["dataset"], data.get("input_size"), members[0].outputs.data, remarks)


def _members(folders: list[Path]) -> list[Member]:
    collection = collect(folders)
    members = [member for run in collection.runs if run.done for member in _of_run(run)]
    known = {member.path.resolve() for member in members}
    for folder in folders:
        for path in sorted(folder.rglob(outputs.NAME)):
            if path.resolve() not in known and SEARCH not in path.relative_to(folder).parts:
                raise UsageError(
                    f"{path}: no finished result.json beside it, which says the method; copy or finish the whole run"
                )
    return members


def _of_run(run: Run) -> Iterator[Member]:
    script = run.content.get("script")
    for path in sorted(run.folder.glob(f"*{outputs.NAME}")):
        if script == "main_forget.py":
            check(run.content, SHAPES[script], run.path)
            result = run.content
        else:
            check(run.content, TRAINING | {"fingerprint": str}, run.path)
            result = _as_unlearned(run.content, path)
        stored = outputs.read(path)
        if stored.run.partition("-")[0] != run.content["fingerprint"]:
            raise UsageError(
                f"{path}: is of run {stored.run}, and the result.json beside it of {run.content['fingerprint']}; "
                "delete it and give the command again with --save_outputs"
            )
        yield Member(path, stored, result, Path(result["model"].get("checkpoint") or "").name)


def _as_unlearned(training: dict[str, Any], path: Path) -> dict[str, Any]:
    """A training's result in the form of ``main_forget.py``'s, for the round whose outputs are in ``path``."""
    number = path.name.removesuffix(outputs.NAME).removesuffix(outputs.LAST_EPOCH)
    final = training["rounds"][-1]
    summary = next((summary for summary in training["rounds"] if str(summary["round"]) == number), final)
    checkpoint = summary.get("last" if f"{outputs.LAST_EPOCH}{outputs.NAME}" in path.name else "best")
    recipe = {"prune": training["config"].get("prune", {})}
    model = {"sparsity": 1 - summary["density"], "recipe": recipe, "round": summary["round"], "checkpoint": checkpoint}
    return {**training, "model": {**training["model"], **model}}


def _check_distinct(members: list[Member]) -> None:
    """Refuse a model that is given twice, and models of several data sets."""
    seen: dict[str, Path] = {}
    first = members[0]
    for member in members:
        other = seen.setdefault(member.outputs.run, member.path)
        if other != member.path:
            raise UsageError(f"{member.path}: is the same model as {other}; leave one of the two out")
        if member.outputs.data != first.outputs.data or len(member.outputs.margin) != len(first.outputs.margin):
            raise UsageError(f"{member.path}: is of other images than {first.path}; attack each data set alone")


def _titles(densities: list[Density]) -> dict[Density, str]:
    """Names of the columns: the sparsity, with pruner, ``--compat`` and architecture where these are needed."""
    several = len({arch for arch, *_ in densities}) > 1
    alike = Counter((arch, sparsity, compat) for arch, sparsity, _, compat in densities)
    titles = {}
    for arch, sparsity, pruner, compat in densities:
        parts = [pruner] if pruner and alike[arch, sparsity, compat] > 1 else []
        parts += [f"compat {compat}"] if compat != "fixed" else []
        name = model_name(sparsity) + (f" ({', '.join(parts)})" if parts else "")
        titles[arch, sparsity, pruner, compat] = f"{arch} {name}" if several else name
    return titles


def _arranged(title: str, members: list[Member], remarks: list[str]) -> Models:
    """The models of one density by method, controls first; remarks about them are appended to ``remarks``."""
    others = [member for member in members if member.outputs.kind != "original"]
    trained = [member for member in members if member.outputs.kind == "original"]
    originals = [member.outputs for member in _started_from(trained, others)]
    rows = _rows(others)
    for name, group in rows.items():
        _check_whole(f"{name} model ({title})", group)
        settings = [hyper(member.result) for member in group]
        differing = {key for given in settings for key in given if given[key] != settings[0].get(key)}
        if differing:
            remarks.append(f"{name}, {title}: its models differ in {', '.join(sorted(differing))}.")
    _check_sets(others)
    retrained = [member.outputs for member in rows.get(RETRAIN, [])]
    if retrained:
        for name, group in rows.items():
            _check_retrained(f"Retrain model ({title})", name, group, {model.pair for model in retrained})
    arranged = {name: [member.outputs for member in group] for name, group in rows.items()}
    if originals:
        unlearned = [member.outputs for member in others]
        arranged[ORIGINAL] = standing_in(originals, unlearned) if unlearned else originals
    ordered = sorted(arranged.items(), key=lambda item: (position(item[0]), item[0]))
    return Models(originals or retrained, retrained, dict(ordered))


def _started_from(originals: list[Member], others: list[Member]) -> list[Member]:
    """The originals from which methods started, be it the weights of a training's best or of its last epoch.

    If methods started from none of them (from another tool's file for example), those of the best epoch. UsageError if
    methods started from the weights of a last epoch that have no outputs.
    """
    started = {member.checkpoint for member in others}
    members = [member for member in originals if member.checkpoint in started]
    best = [member for member in originals if outputs.LAST_EPOCH not in member.path.name]
    if members or not best:
        return members
    lasts = {summary.get("last") for member in best for summary in member.result["rounds"]} & started - {None}
    if lasts:
        raise UsageError(
            f"{best[0].path}: methods started from {', '.join(sorted(lasts))}, the last epoch's weights, which have no "
            "outputs; delete this file and give its command again with --save_outputs"
        )
    return best


def _rows(members: list[Member]) -> dict[str, list[Member]]:
    """Unlearned and retrained models by row name. Retrained models must be of one setting."""
    by_fingerprint = {member.result["fingerprint"]: member for member in members}
    rows: dict[str, list[Member]] = {}
    for name, results in by_method([member.result for member in members]).items():
        group = [by_fingerprint[result["fingerprint"]] for result in results]
        rows[f"{name} (raw)" if name == ORIGINAL else name] = sorted(group, key=_place)
    again = [name for name, group in rows.items() if group[0].outputs.kind == "retrained"]
    if len(again) > 1:
        raise UsageError(f"retrained models of several settings ({'; '.join(again)}); give one of them")
    return {RETRAIN if name in again else name: group for name, group in rows.items()}


def _place(member: Member) -> tuple[int, int, str]:
    return (*member.outputs.pair, member.outputs.run)


def _check_whole(words: str, group: list[Member]) -> None:
    """Refuse a method that does not have the same number of models for every split and forget set."""
    counts = Counter(member.outputs.pair for member in group)
    grid = outputs.wanted(counts)
    most = max(counts.values())
    for split, forget_set in sorted(pair for pair in grid if counts[pair] < most):
        place = f"the {words} of split {split}, forget set {forget_set}"
        if not counts[split, forget_set]:
            raise UsageError(f"{place} is missing; {most * len(grid)} are needed, and there are {len(group)}")
        twice = next(member for member in group if counts[member.outputs.pair] == most)
        raise UsageError(
            f"{twice.path}: is one of {most} of split {twice.outputs.split}, forget set {twice.outputs.forget_set}, "
            f"and of {place.removeprefix('the ')} there are {counts[split, forget_set]}; give the same number of each"
        )


def _check_retrained(words: str, name: str, group: list[Member], known: set[tuple[int, int]]) -> None:
    """Refuse a method with a split and forget set for which there is no retrained model."""
    pairs = {member.outputs.pair for member in group}
    for split, forget_set in sorted(pairs - known):
        raise UsageError(
            f"the {words} of split {split}, forget set {forget_set} is missing, which {name} has; {len(pairs)} are "
            f"needed, and there are {len(known)}"
        )


def _check_sets(members: list[Member]) -> None:
    """Refuse models of one split and forget set that retain or forget other images."""
    first: dict[tuple[int, int], Member] = {}
    for member in members:
        other = first.setdefault(member.outputs.pair, member)
        pairs = ((getattr(member.outputs, name), getattr(other.outputs, name)) for name in ("retain", "forget"))
        if not all(np.array_equal(*pair) for pair in pairs):
            raise UsageError(
                f"{member.path}: retains or forgets other images than {other.path}, of the same split "
                f"{member.outputs.split} and forget set {member.outputs.forget_set}; give models of one population"
            )
