"""The data that a page of classifiers shows; the page's script filters and draws them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from compare import chosen_images, embedding, layerwise
from compare.answers import Answers, ask
from compare.entries import Entry
from compare.opening import Opened
from compare.packed import Packed
from compare.page_content import Content
from evaluation.privacy_score import privacy_score
from report.runs import METRICS

TOLERANCE = 1e-9  # by which an accuracy may differ from the one in result.json without a remark


def collect(entries: Sequence[Entry], opened: Opened, kind: str) -> Content:
    """Run every model once and collect the page's data.

    Args:
        entries: the models, in the order of ``opened.models``.
        kind: of the map: "pca", "tsne" or "umap".
    Raises:
        DivergedError: a model's output is NaN or infinite.
        RunError: the images are of a class that a model does not know.
    """
    sizes = {name: len(images) for name, images in opened.sets.items()}
    rows = chosen_images.mapped(sizes, kind)
    answers = [ask(model, opened.sets, rows) for model in opened.models]
    pictured = chosen_images.pictured(rows, answers)
    layers = layerwise.compare_layers(opened.models, {name: one for name, one in opened.sets.items() if name != "val"})
    arrays = _arrays(opened, answers)
    arrays.add("mapped", rows)
    arrays.add("pictured", pictured)
    for axis, values in zip("xy", np.moveaxis(embedding.embed([one.features for one in answers], kind), 2, 0)):
        arrays.add_rounded(axis, values)
    plain = {
        "dataset": opened.dataset,
        "classes": _classes(opened, answers),
        "sets": [{"name": name, "shown": sizes[name], "whole": whole} for name, whole in opened.whole.items()],
        "models": [_about(entry, one) for entry, one in zip(entries, answers)],
        "first": _first(entries),
        "forgotten": next(entry.result["scenario"]["words"] for entry in entries if entry.unlearned),
        "map": kind,
        "layers": _layers(layers),
        "privacy": _privacy(answers),
        "arrays": arrays.index,
    }
    return Content("classifiers", plain, arrays, pictured, _remarks(entries, opened, answers, layers, len(rows)))


def _arrays(opened: Opened, answers: Sequence[Answers]) -> Packed:
    """Sets, positions and labels of all images, and each model's answers.

    Confidence is stored for wrong predictions only: for right ones it follows from the margin.
    """
    arrays, numbers = Packed(), opened.numbers
    arrays.add("set", np.repeat(np.arange(len(numbers)), [len(one) for one in numbers.values()]))
    arrays.add("number", np.concatenate(list(numbers.values())))
    labels = np.concatenate([images.labels.cpu().numpy() for images in opened.sets.values()])
    arrays.add("label", labels)
    for place, one in enumerate(answers):
        arrays.add(f"predicted{place}", one.predicted)
        arrays.add_rounded(f"margin{place}", one.margin)
        arrays.add_rounded(f"confidence{place}", one.confidence[one.predicted != labels])
        arrays.add_rounded(f"entropy{place}", one.entropy)
    return arrays


def _classes(opened: Opened, answers: Sequence[Answers]) -> list[str]:
    """Names of the data set's classes, followed by "class N" for further outputs that a model has."""
    known = list(opened.classes)
    return known + [f"class {number}" for number in range(len(known), max(one.forget.shape[1] for one in answers))]


def _about(entry: Entry, one: Answers) -> dict[str, Any]:
    """The page's entry of a model: names, command and scores of its run, and the accuracies measured now."""
    result = entry.result
    model, scores = result["model"], result.get("scores") or {}
    return {
        "name": entry.name,
        "unlearned": entry.unlearned,
        "retrained": entry.retrained,
        "arch": model["arch"],
        "command": entry.command,
        "scores": {metric: scores.get(metric) for metric in (*METRICS, "RTE")},
        "accuracy": one.accuracy,
    }


def _first(entries: Sequence[Entry]) -> list[int]:
    """Places of the two models that the page shows first.

    They are the first unlearned one, and Retrain, or else the original model.
    """
    reference = next((place for place, entry in enumerate(entries) if entry.retrained), None)
    if reference is None:
        reference = next((place for place, entry in enumerate(entries) if not entry.unlearned), 0)
    others = [place for place in range(len(entries)) if place != reference]
    looked_at = [place for place in others if entries[place].unlearned and entries[place].result["method"] != "raw"]
    return [(looked_at or others)[0], reference]


def _layers(layers: layerwise.Layers) -> dict[str, Any]:
    """Similarity by layer as plain data, with pairs of models as text "a,b"."""
    return {
        "names": layers.names,
        "images": layers.images,
        "cka": {name: _by_text(pairs) for name, pairs in layers.cka.items()},
        "relative": _by_text(layers.relative),
        "changed": _by_text(layers.changed),
    }


def _by_text(pairs: dict[layerwise.Pair, list[float | None]]) -> dict[str, list[float | None]]:
    return {f"{a},{b}": values for (a, b), values in pairs.items()}


def _privacy(answers: Sequence[Answers]) -> dict[str, dict[str, float]]:
    """The worst-case privacy score of every ordered pair of models, "a,b", on the forget set."""
    return {
        f"{a},{b}": privacy_score(answers[a].forget, answers[b].forget)
        for a, b in itertools.permutations(range(len(answers)), 2)
        if answers[a].forget.shape[0]
    }


def _remarks(
    entries: Sequence[Entry], opened: Opened, answers: Sequence[Answers], layers: layerwise.Layers, mapped: int
) -> list[str]:
    """Sentences about images and layers that are left out, and accuracies that differ from ``result.json``."""
    remarks = []
    for name, images in opened.sets.items():
        if len(images) < opened.whole[name]:
            remarks.append(f"Of the {name} set {len(images):,} of {opened.whole[name]:,} images were looked at.")
    total = sum(map(len, opened.sets.values()))
    if mapped < total:
        remarks.append(f"The map has {mapped:,} of {total:,} images, evenly taken from each set.")
    if len({tuple(layerwise.layer_names(model)) for model in opened.models}) > 1:
        remarks.append(f"The models' layers differ; {len(layers.names)} that all have are compared.")
    for entry, one in zip(entries, answers):
        recorded = (entry.result.get("accuracy") or {}) if entry.unlearned else {}
        for name, value in one.accuracy.items():
            whole, own = len(opened.sets[name]) == opened.whole[name], recorded.get(name)
            if whole and value is not None and own is not None and not math.isclose(value, own, abs_tol=TOLERANCE):
                shares = f"{100 * value:.2f} % here, {100 * own:.2f} % in its result.json"
                remarks.append(f"{entry.name}: accuracy on the {name} set is {shares}; this machine rounds otherwise.")
    return remarks
