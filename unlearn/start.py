"""Where unlearning starts: a checkpoint that fits the architecture and was trained on the same split."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from torch import nn

import models
from dataset import split_file
from dataset.prepare import DatasetInfo
from dataset.sources import Dataset
from dataset.split import BaseSplit, everything
from pruner import Mask
from trainer.given import read as checkpoint
from trainer.given import statistics
from unlearn.registry import Method
from utils import checkpoints, origin, seeds
from utils.checkpoints import Checkpoint
from utils.errors import UsageError


@dataclass(frozen=True)
class Start:
    """What ``--mask`` and ``--rewind_pth`` name.

    Attributes:
        given: the model to unlearn, whose mask is held; None where new dense weights will do.
        rewound: weights that replace the given ones.
        weights: those that the method begins with; None for new ones.
    """

    given: Checkpoint | None
    rewound: Checkpoint | None
    weights: Checkpoint | None

    @property
    def mask(self) -> Mask:
        """The weights to hold at zero; empty for a dense model."""
        return self.given.mask if self.given is not None else {}

    @property
    def digests(self) -> dict[str, str | None]:
        """SHA-256 of both files, for a run's configuration."""
        return {"checkpoint": self.given and self.given.sha256, "rewind": self.rewound and self.rewound.sha256}


def read(arguments: Any, method: Method, chosen: DatasetInfo) -> Start:
    """Open the checkpoints that a run names and check them against ``--arch``.

    Args:
        arguments: with the groups model, run, unlearn and hyper.
        chosen: the data set that the model is of.
    Raises:
        UsageError: a file that is damaged or does not fit the architecture.
    """
    given = None
    if arguments.unlearn.mask is not None:
        given = checkpoint(arguments, chosen, arguments.unlearn.mask, "--mask", masks_alone=method.fresh)
    rewound = read_other(arguments, chosen, getattr(arguments.hyper, "rewind_pth", None), "--rewind_pth")
    return Start(given, rewound, rewound or (None if method.fresh else given))


def read_other(arguments: Any, chosen: DatasetInfo, path: str | None, flag: str) -> Checkpoint | None:
    """A further model of the same architecture, if a flag names one.

    Raises:
        UsageError: the file is damaged or does not fit.
    """
    return None if path is None else checkpoint(arguments, chosen, path, flag)


def check_validation(method: Method, chosen: DatasetInfo, dataset: str) -> None:
    """Refuse a method that trains on validation images where there are none, or the test images stand in for these.

    Raises:
        UsageError: names the method and the data set.
    """
    if method.trains_on_val and not chosen.validates:
        lack = (
            "too few training images for a tenth of any class"
            if chosen.source.with_validation
            else "none but the test images, which are scored as never seen"
        )
        raise UsageError(
            f"--unlearn {method.name}: trains on validation images, and --dataset {dataset} has {lack}; give a data set with a validation part"
        )


def check_split(checkpoint: Checkpoint | None, base: BaseSplit, allowed: bool) -> None:
    """Refuse a model that was trained on other images than this run takes for its training set.

    Args:
        allowed: go on all the same.
    Raises:
        UsageError: names both splits and how to choose the model's.
    """
    if checkpoint is None:
        return
    trained_on = checkpoint.extra.get("split_digest")
    if trained_on is None:
        print(f"warning: {checkpoint.path} does not say on which split it was trained", file=sys.stderr)
    elif trained_on != base.digest and not allowed:
        seed = checkpoint.extra.get("split_seed")
        raise UsageError(
            f"--mask {checkpoint.path}: was trained on split {trained_on}{_seed(seed)}, this run divides the data into "
            f"{base.digest}{_seed(base.seed)}; {_way(checkpoint, base)}, or --allow_split_mismatch"
        )


def _seed(seed: int | None) -> str:
    return "" if seed is None else f" (seed {seed})"


def _way(checkpoint: Checkpoint, base: BaseSplit) -> str:
    """What chooses the model's split, in words."""
    seed, known = checkpoint.extra.get("split_seed"), origin.facts(checkpoint.extra)
    if seed is None:
        beside = checkpoint.path.parent / split_file.NAME
        return f"give --split {beside}" if beside.exists() else "give the file that it was trained with, --split FILE"
    if base.seed is None:
        return "leave --split out"
    if base.val is None:
        return (
            "it may have had a tenth of the images set apart: leave out --no_val (or _no_val in --dataset), "
            "or give the data that it was trained on"
        )
    if checkpoint.extra["split_digest"] == everything(len(base.train) + len(base.val)).digest:
        return "it was trained on all training images: give --no_val"
    if seed != base.seed or "dataset" not in known:
        return f"give --split_seed {seed}"
    return f"give the images of {known['dataset']} that it was trained on"


def build(arguments: Any, chosen: DatasetInfo, data: Dataset, weights: Checkpoint | None) -> nn.Module:
    """The model on the CPU, with these weights or with new ones from ``--train_seed``."""
    seeds.seed_everything(arguments.run.train_seed)
    model = models.build(
        arguments.model.arch,
        chosen.classes,
        *statistics(arguments, data),
        arguments.model.imagenet_arch,
        chosen.side,
        arguments.run.compat,
    )
    if weights is not None:
        checkpoints.load_weights(model, weights)
    return model
