"""Loads what is compared: the images of the split, and each run's model, on the device."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

import models
from compare.entries import Entry, split_of
from dataset import prepare, split_file, superclasses
from dataset.images import Images
from dataset.prepare import DatasetInfo
from dataset.sources import Dataset
from trainer import checkpoints, network, origin
from trainer.checkpoints import Checkpoint
from trainer.network import Network
from trainer.training_flags import Model
from unlearn import lora
from unlearn.unlearn_flags import Lora
from utils.errors import UsageError, renamed
from utils.run_flags import Run

# the order in which sets are reduced if there are too many images
THINNED = ("retain", "val", "test", "forget_test", "forget")


@dataclass(frozen=True, eq=False)
class Opened:
    """The loaded images and models.

    Attributes:
        dataset: name of the data set.
        classes: names of its classes; a model may have further outputs.
        sets: images by set on the device, maybe reduced. "val" is there only if it differs from the test set.
        whole: the number of images in each set before it was reduced.
        models: in eval mode on the device, in the order of the entries.
    """

    dataset: str
    classes: tuple[str, ...]
    sets: dict[str, Images]
    whole: dict[str, int]
    models: list[nn.Module]

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """Positions of each set's images among the official training or test images, int64 [M]."""
        return {name: images.indices.cpu().numpy() for name, images in self.sets.items()}


def open_all(entries: Sequence[Entry], root: str | None, device: torch.device, most: int) -> Opened:
    """Load the data set and every model.

    Args:
        entries: the models to load.
        root: the value of ``--data``.
        most: most images in all sets together; sets are reduced in the order of ``THINNED``.
    Raises:
        UsageError: the images are not those of the runs, or a checkpoint is damaged or of another model.
    """
    flags, split = entries[0].data, split_of(entries)
    info = prepare.find(flags["dataset"], root, flags.get("input_size"), bool(flags.get("stream")), str(split))
    if info.superclasses is None:
        info = replace(info, superclasses=superclasses.recorded(entries[0].superclasses, info.names))
    _check_counts(entries, info)
    networks = [_read(entry, info) for entry in entries]
    data = info.load()
    sets = _sets(info, prepare.Views(data, device), split_file.held_out(split, len(data.test_labels)))
    whole = {name: len(images) for name, images in sets.items()}
    ready = [_model(entry, network, data).to(device).eval() for entry, network in zip(entries, networks)]
    return Opened(data.name, tuple(data.classes), _thinned(sets, most), whole, ready)


def _check_counts(entries: Sequence[Entry], info: DatasetInfo) -> None:
    """Refuse a data set whose numbers of images per class differ from those that the runs saw."""
    for entry in entries:
        before, now = entry.result["config"].get("official_counts"), info.identity["official_counts"]
        if before is not None and list(before) != now:
            totals = f"its run saw {sum(before):,} training images, {info.root} has {sum(now):,}"
            hint = "in other numbers per class; name the folder of its data by --data"
            raise UsageError(f"{entry.folder}: {totals} {hint}")


def _sets(info: DatasetInfo, views: prepare.Views, held_out: np.ndarray) -> dict[str, Images]:
    """All images of the split by set, in the order of the page.

    Args:
        held_out: positions of the test images of classes that are forgotten whole.
    """
    assert info.given is not None, "a split was named"
    positions = info.given.sets
    sets = {name: views.train(positions[name]) for name in ("forget", "retain")}
    sets["test"] = views.test(positions.get("test"))
    if len(held_out):
        sets["forget_test"] = views.test(held_out)
    if "val" in positions:
        sets["val"] = views.val(positions["val"])
    return sets


def _thinned(sets: dict[str, Images], most: int) -> dict[str, Images]:
    """The sets, reduced to at most ``most`` images in all by taking images at equal distances."""
    surplus = sum(map(len, sets.values())) - most
    kept = dict(sets)
    for name in THINNED:
        if surplus > 0 and name in sets:
            count = max(len(sets[name]) - surplus, min(len(sets[name]), most // len(sets)))
            surplus -= len(sets[name]) - count
            kept[name] = sets[name].at(sets[name].indices[torch.from_numpy(evenly(len(sets[name]), count))])
    return kept


def evenly(total: int, count: int) -> np.ndarray:
    """``count`` of the places 0 to ``total`` - 1 at equal distances, int64 ascending; all if there are no more."""
    return np.arange(total) if count >= total else np.arange(count) * total // count


def _read(entry: Entry, info: DatasetInfo) -> tuple[Network, Checkpoint]:
    """An entry's architecture and its checkpoint, which must fit the architecture and the data set's classes."""
    peeked = checkpoints.peek(entry.path)
    known = {} if peeked is None else origin.facts(peeked.extra)
    flags = {name: known[name] for name in ("arch", "imagenet_arch", "mean", "std") if known.get(name) is not None}
    arch = Model(**{"arch": entry.result["model"]["arch"], **flags})
    built = network.new(arch, info, Run(compat=known.get("compat", "fixed")))
    checkpoint = checkpoints.read(entry.path, "model", False, built.fresh)
    differ = origin.classes_differ(checkpoint.extra, info.names)
    if differ is not None:
        raise UsageError(f"{entry.path}: {differ}; name the data set that it was trained on by --data")
    wider = copy.deepcopy(built.fresh)
    models.widen_to(wider, checkpoint.weights)
    checkpoints.check_fits(checkpoint, wider, arch.arch, "model", dataset=info.source.name, stem=arch.imagenet_arch)
    return built, checkpoint


def _model(entry: Entry, read: tuple[Network, Checkpoint], data: Dataset) -> nn.Module:
    """An entry's model on the CPU, its adapters merged."""
    built, checkpoint = read
    model = built.model(data)
    models.widen_to(model, checkpoint.weights)  # boundary expanding with --compat reference keeps its further class
    checkpoints.load_weights(model, checkpoint)
    if entry.adapter is None:
        return model
    facts = entry.result["adapters"]
    flags = Lora(lora_rank=facts["rank"], lora_alpha=facts["alpha"], lora_targets=tuple(facts["targets"]))
    with renamed({"--lora": str(entry.folder), "--resume": "model"}):
        adapted: Any = lora.read(model, lora.plan(flags, built.blank()), entry.adapter)
    return adapted.merge_and_unload()
