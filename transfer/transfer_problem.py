"""The loaded data of ``main_transfer.py``: source and target, and the source with classes removed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import models
from dataset import prepare, split_file
from dataset.sources import Dataset
from dataset.split import BaseSplit, Split
from trainer import checkpoints
from trainer.problem import load, stamp, views
from transfer.probe import Target
from transfer.transfer_setup import PointSetup, TransferSetup
from unlearn.forget_problem import ForgetProblem, check_split, divide
from utils.errors import renamed


@dataclass(frozen=True)
class TransferProblem:
    """The loaded source and target.

    Attributes:
        data: the source data set.
        base: the source's split.
        views: access to the source's images on the device.
        stamp: facts about the source's images that checkpoints record.
        target_data: the target data set.
        target: its image sets.
    """

    data: Dataset
    base: BaseSplit
    views: prepare.Views
    stamp: dict[str, Any]
    target_data: Dataset
    target: Target

    def write_split(self, folder: Path) -> None:
        """Write ``split.npz``, the indices of the source's sets, to the folder."""
        split_file.write(folder, self.base.sets(len(self.data.test_labels)), self.base.digest)


def read(setup: TransferSetup) -> TransferProblem:
    """Load source and target, and check the source's split. Images of the target are resized to the source's size.

    Raises:
        UsageError: the source model was trained on another split.
    """
    data, base = load(setup)
    base = replace(base, forget=None)
    with renamed({"--data": "--target"}):
        target = setup.target.load()
    check_split(setup.checkpoint, base, setup.allow_mismatch)
    seen = views(setup, target)
    everything = Target(len(target.classes), seen.train(np.arange(len(target.train_labels))), seen.test())
    return TransferProblem(data, base, views(setup, data), stamp(setup, base), target, everything)


def without(setup: PointSetup, problem: TransferProblem) -> ForgetProblem:
    """The unlearning problem of one point: the source, whose forget set are the removed classes.

    Its model is the one to start from, or the unlearned one if an earlier run has left it.
    """
    data, base = problem.data, problem.base
    if setup.count:
        split = divide(setup, data, base, setup.scenario)
    else:
        nothing = np.empty(0, dtype=np.int64)
        test = np.arange(len(data.test_labels)) if base.test is None else base.test
        split = Split(base.train, base.train, nothing, base.val, test, (), base.digest)
    return ForgetProblem(
        data=data,
        base=base,
        sets=problem.views.divided(split),
        model=_model(setup, data).to(setup.device),
        stamp={"fingerprint": setup.stamp, **problem.stamp, "forget_digest": split.digest},
        split=split,
        mask=setup.mask,
    )


def _model(setup: PointSetup, data: Dataset) -> nn.Module:
    """The model to start from, or the unlearned one if an earlier run has left it, on the CPU."""
    if setup.stored is None:
        return setup.network.model(data, setup.weights)
    model = setup.network.model(data)
    models.widen_to(model, setup.stored.weights)  # boundary expanding with --compat reference keeps its further class
    checkpoints.load_weights(model, setup.stored)
    return model
