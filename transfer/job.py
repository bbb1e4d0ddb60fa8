"""What ``main_transfer.py`` checks and reads: the source and its classes to remove, the model, and the target."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import models
from arg_parser import TransferArguments, deciding
from dataset import prepare
from dataset.scenario import numbers
from dataset.sources import Dataset
from dataset.split import BaseSplit
from pruner import Mask
from unlearn import registry, saliency, start
from utils import seeds
from utils.device import resolve
from utils.errors import UsageError, renamed

if TYPE_CHECKING:
    from trainer.probe import Target


@dataclass(frozen=True)
class Checked:
    """What was found right before any image is read.

    Attributes:
        only: the weights that unlearning may change, if a file names them.
        order: source classes by number, the first to be removed first.
        removed: how many of them, ascending; a model for each.
        unlearning: what decides an unlearned model, but for the number of removed classes.
        config: what decides the whole run.
    """

    method: registry.Method
    device: torch.device
    source: prepare.DatasetInfo
    target: prepare.DatasetInfo
    start: start.Start
    only: Mask | None
    order: tuple[int, ...]
    removed: tuple[int, ...]
    unlearning: dict[str, Any]
    config: dict[str, Any]

    def unlearn_config(self, count: int) -> dict[str, Any]:
        """What decides the model without the first ``count`` classes, whichever came first."""
        return self.unlearning | {"removed_classes": sorted(self.order[:count])}

    def point_config(self, count: int) -> dict[str, Any]:
        """What decides every number after ``count`` classes are removed."""
        return self.unlearn_config(count) | {key: self.config[key] for key in ("probe", "target")}


@dataclass(frozen=True)
class Bench:
    """Source and target in memory, the source's split, and views on its images."""

    data: Dataset
    base: BaseSplit
    views: prepare.Views
    target_data: Dataset
    target: Target


def check(arguments: TransferArguments) -> Checked:
    """Refuse what can be refused without reading data: device, data sets, classes to remove, architecture, checkpoint."""
    method = registry.get(arguments.unlearn.unlearn)
    run = arguments.run
    device = resolve(run.device, run.gpu, run.deterministic, run.no_fast_cpu)
    models.check(arguments.model.arch, arguments.model.imagenet_arch)
    source = prepare.find(
        arguments.data.dataset,
        arguments.data.data,
        arguments.data.input_size,
        arguments.data.stream,
        arguments.data.split,
    )
    with renamed({"--dataset": "--target_dataset", "--data": "--target"}):
        target = prepare.find(
            arguments.transfer.target_dataset or "folder", arguments.transfer.target, source.side, arguments.data.stream
        )
    start.check_validation(method, source, arguments.data.dataset)
    order, removed = removal_order(arguments, source.names), tuple(sorted(arguments.transfer.removed))
    beginning = start.read(arguments, method, source)
    if removed[0] == 0 and not beginning.given.weights:
        raise UsageError(
            f"--mask {beginning.given.path}: holds masks but no weights; --removed 0 needs the model itself"
        )
    only, digest = saliency.given(arguments, source)
    config = deciding(arguments) | {"method": method.name, **source.identity, **beginning.digests}
    config |= {"saliency": digest} if digest else {}
    unlearning = {key: value for key, value in config.items() if key not in ("transfer", "probe", "order")}
    own = {
        "removed": removed,
        "removal_order": order[: removed[-1]],
        "probe": asdict(arguments.probe),
        "target": {
            "dataset": target.source.name,
            "folder": str(target.root),
            "classes": target.names,
            "counts": target.official,
        },
    }
    return Checked(method, device, source, target, beginning, only, order, removed, unlearning, unlearning | own)


def removal_order(arguments: TransferArguments, names: tuple[str, ...]) -> tuple[int, ...]:
    """Source classes by number, the first to be removed first: as typed, or all of them as drawn from ``--seed``.

    Raises:
        UsageError: an unknown class, or more classes to remove than there are or than were named.
    """
    most = max(arguments.transfer.removed)
    if most >= len(names):
        raise UsageError(f"--removed {most}: the source has {len(names)} classes, of which one must remain")
    if arguments.order is None:
        return tuple(
            torch.randperm(len(names), generator=seeds.generator(arguments.run.seed, "removal order")).tolist()
        )
    order = numbers(arguments.order, names, "--removal_order")
    if len(order) < most:
        raise UsageError(
            f"--removal_order {arguments.transfer.removal_order}: names {len(order)}, too few for --removed {most}"
        )
    return order


def read_data(arguments: TransferArguments, checked: Checked) -> Bench:
    """Load the source and the target, whose images become as large as the source's, and check the source's split."""
    from trainer.probe import Target

    run = arguments.run
    data = checked.source.load()
    with renamed({"--data": "--target"}):
        target = checked.target.load()
    base = replace(prepare.base_split(data, run.seed, run.split_seed, run.compat), forget=None)
    start.check_split(checked.start.given, base, arguments.unlearn.allow_split_mismatch)
    views = prepare.Views(target, checked.device, arguments.data.workers, run.compat)
    everything = Target(len(target.classes), views.train(np.arange(len(target.train_labels))), views.test())
    return Bench(
        data, base, prepare.Views(data, checked.device, arguments.data.workers, run.compat), target, everything
    )


def target_name(checked: Checked) -> str:
    """A data set's name, or that of its folder."""
    source = checked.target.source
    return checked.target.root.resolve().name if source.name == "folder" else source.name


def listed(classes: tuple[int, ...], names: tuple[str, ...]) -> str:
    """Classes by number and name."""
    return ", ".join(f"{label} ({names[label]})" for label in classes)
