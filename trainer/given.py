"""The checkpoints that a run names, opened and compared with its flags and data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

import models
from dataset.prepare import DatasetInfo
from dataset.sources import Dataset
from utils import checkpoints, foreign, origin
from utils.checkpoints import Checkpoint
from utils.errors import UsageError


def blank(arguments: Any, chosen: DatasetInfo) -> nn.Module:
    """The architecture that the flags name, for this data set, without weights."""
    return models.blank(arguments.model.arch, chosen.classes, chosen.side, arguments.model.imagenet_arch)


def read(arguments: Any, chosen: DatasetInfo, path: str, flag: str, masks_alone: bool = False) -> Checkpoint:
    """Open a checkpoint that is of the flags' architecture, of the data set's classes and normalised as typed.

    Args:
        arguments: with the groups data, model and run.
        chosen: the data set of this run.
        masks_alone: whether a file without weights will do.
    Raises:
        UsageError: names the flag, the file and what is wrong or differs.
    """
    flags, model = arguments.model, blank(arguments, chosen)
    found = checkpoints.read(Path(path), flag, arguments.run.allow_pickle, model)
    checkpoints.check_fits(found, model, flags.arch, flag, masks_alone, arguments.data.dataset, flags.imagenet_arch)
    differ = origin.classes_differ(found.extra, chosen.names)
    if differ is not None:
        raise UsageError(
            f"{flag} {path}: {differ}; give the data set that it was trained on, with the same class folders"
        )
    held = [value.tolist() for name in foreign.NORMALIZE if (value := found.weights.get(name)) is not None]
    typed = (flags.mean, flags.std)
    if (
        held
        and flags.mean is not None
        and any(abs(a - b) > 1e-4 for one, other in zip(held, typed) for a, b in zip(one, other))
    ):
        said = " and ".join(",".join(f"{value:.4g}" for value in values) for values in held)
        raise UsageError(
            f"{flag} {path}: normalises its input by mean and standard deviation {said}; leave --mean and --std out"
        )
    return found


def statistics(arguments: Any, data: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of a new model's input, by channel: as typed, or the data set's."""
    return arguments.model.mean or data.mean, arguments.model.std or data.std


def provenance(arguments: Any, *found: Checkpoint | None) -> dict[str, str]:
    """Lines for the header: which flags the files gave, and how their weights were renamed and are normalised.

    Args:
        arguments: with the groups data and model, and ``inherited``.
        found: the checkpoints that the run begins with.
    """
    lines = {"inherited": "; ".join(arguments.inherited)} if arguments.inherited else {}
    said = [phrase for each in found if each is not None for phrase in each.said]
    if any(each is not None and each.weights and foreign.NORMALIZE[0] not in each.weights for each in found):
        own = (
            "those of its folder"
            if arguments.model.arch.startswith("hf:")
            else f"statistics of {arguments.data.dataset}"
        )
        said.append("no normalize.*: " + (own if arguments.model.mean is None else "--mean and --std"))
    return lines | ({"weights": ", ".join(dict.fromkeys(said))} if said else {})
