"""What a transfer works on: source and target in memory, and the source without its removed classes."""

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
    """Source and target in memory, the source's split, and views on its images.

    Attributes:
        stamp: what the checkpoints say of the images that the source was trained on.
    """

    data: Dataset
    base: BaseSplit
    views: prepare.Views
    stamp: dict[str, Any]
    target_data: Dataset
    target: Target

    def write_split(self, folder: Path) -> None:
        """Leave ``split.npz``: the indices of the source's sets."""
        split_file.write(folder, self.base.sets(len(self.data.test_labels)), self.base.digest)


def read(setup: TransferSetup) -> TransferProblem:
    """Load the source and the target, whose images become as large as the source's, and check the source's split."""
    data, base = load(setup)
    base = replace(base, forget=None)
    with renamed({"--data": "--target"}):
        target = setup.target.load()
    check_split(setup.checkpoint, base, setup.allow_mismatch)
    seen = views(setup, target)
    everything = Target(len(target.classes), seen.train(np.arange(len(target.train_labels))), seen.test())
    return TransferProblem(data, base, views(setup, data), stamp(setup, base), target, everything)


def without(setup: PointSetup, problem: TransferProblem) -> ForgetProblem:
    """The source without its first classes: split, image sets, and the model to begin with or the finished one."""
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
    """The model to begin with, or the finished one, on the CPU."""
    if setup.stored is None:
        return setup.network.model(data, setup.weights)
    model = setup.network.model(data)
    models.widen_to(model, setup.stored.weights)  # boundary expanding of --compat reference keeps its class
    checkpoints.load_weights(model, setup.stored)
    return model
