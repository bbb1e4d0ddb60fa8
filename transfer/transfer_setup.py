"""The checked inputs of ``main_transfer.py``, before an image is read: source, classes to remove, model and target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dataset import prepare
from dataset.prepare import DatasetInfo
from dataset.scenario import Scenario, numbers
from trainer import checkpoints, network
from trainer.checkpoints import Checkpoint
from trainer.setup import inputs, shared
from transfer.transfer_flags import FullProbe, LinearProbe, TransferArguments
from unlearn import registry
from unlearn.unlearn_setup import UnlearnSetup, about, check_validation, starting
from utils import seeds
from utils.errors import UsageError, renamed
from utils.options import identity
from utils.run_folder import fingerprint

OUTPUTS = ["transfer.md", "transfer.csv", "transfer.png"]


@dataclass(frozen=True, kw_only=True)
class TransferSetup(UnlearnSetup):
    """The checked inputs of a transfer.

    Attributes:
        target: the target data set.
        order: numbers of the source classes in the order in which they are removed.
        removed: numbers of classes to remove, ascending; there is a model for each.
        probe: flags of training on the target.
        unlearning: everything that decides an unlearned model's numbers, without the removed classes, as plain data.
    """

    target: DatasetInfo
    order: tuple[int, ...]
    removed: tuple[int, ...]
    probe: LinearProbe | FullProbe
    unlearning: dict[str, Any]

    @property
    def target_name(self) -> str:
        """The target's name; for a folder of images, the folder's name."""
        source = self.target.source
        return self.target.root.resolve().name if source.name == "folder" else source.name

    def listed(self, count: int) -> str:
        """Number and name of the first ``count`` classes to be removed, as text."""
        names = self.dataset.names
        return ", ".join(f"{label} ({names[label]})" for label in self.order[:count])


@dataclass(frozen=True, kw_only=True)
class PointSetup(TransferSetup):
    """The inputs of one point of a transfer, a number of removed classes.

    Attributes:
        count: how many classes are removed.
        stamp: fingerprint of the unlearned model, which does not depend on the target.
        stored: the checkpoint of that model if an earlier run left it, or None.
    """

    count: int
    stamp: str
    stored: Checkpoint | None

    @property
    def classes(self) -> tuple[int, ...]:
        """Numbers of the removed classes, in order of removal."""
        return self.order[: self.count]

    @property
    def scenario(self) -> Scenario:
        """The scenario that forgets all images of the removed classes."""
        return Scenario(tuple(sorted(self.classes))).resolve(self.dataset.train_counts)

    @property
    def weights(self) -> Checkpoint | None:
        """The checkpoint whose weights the point starts from.

        It is the unlearned model's if an earlier run has left it. Else it is what the method starts from, or the
        source model's if no class is removed.
        """
        return self.stored or (super().weights if self.count else self.checkpoint)


def set_up(arguments: TransferArguments) -> TransferSetup:
    """Check everything that can be checked without reading data: device, data sets, classes, architecture, checkpoint.

    Raises:
        UsageError: inputs are wrong or do not fit each other.
    """
    flags, hyper, method = arguments.unlearn, arguments.hyper, registry.get(arguments.unlearn.unlearn)
    asked = arguments.transfer
    device, source = inputs(arguments)
    with renamed({"--dataset": "--target_dataset", "--data": "--target"}):
        target = prepare.find(asked.target_dataset or "folder", asked.target, source.side, arguments.data.stream)
    check_validation(method, source)
    order, removed = removal_order(arguments, source.names), tuple(sorted(asked.removed))
    built = network.new(arguments.model, source, arguments.run)
    checkpoint = built.read(flags.mask or "", "--mask", masks_alone=method.fresh)
    if removed[0] == 0 and not checkpoint.weights:
        raise UsageError(f"--mask {checkpoint.path}: holds masks but no weights; --removed 0 needs the model itself")
    start, digest = starting(flags.mask, flags.allow_split_mismatch, hyper, built, checkpoint)
    unlearning = identity(arguments) | {
        "method": method.name,
        **source.identity,
        "checkpoint": checkpoint.sha256,
        "rewind": start["rewound"] and start["rewound"].sha256,
        **({"saliency": digest} if digest else {}),
    }
    own = {"removed": removed, "removal_order": order[: removed[-1]], "probe": identity(arguments.probe)}
    own["target"] = {"dataset": target.source.name, "folder": str(target.root)}
    own["target"] |= {"classes": target.names, "counts": target.official}
    return TransferSetup(
        **shared(arguments, device, built),
        **about(method, "main_transfer.py", OUTPUTS)
        | {
            "label": "transfer",
            "temporary": (),
            "reader": f"{method.name}, --probe {arguments.probe.probe} or this script",
        },
        config=unlearning | own,
        **start,
        target=target,
        order=order,
        removed=removed,
        probe=arguments.probe,
        unlearning=unlearning,
    )


def removal_order(arguments: TransferArguments, names: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers of source classes in the order of removal: as typed, or all of them in an order drawn from ``--seed``.

    Args:
        names: of all source classes.
    Raises:
        UsageError: a class is unknown, more are to be removed than ``--removal_order`` names, or none would remain.
    """
    flags, most = arguments.transfer, max(arguments.transfer.removed)
    if most >= len(names):
        raise UsageError(f"--removed {most}: the source has {len(names)} classes, of which one must remain")
    if arguments.order is None:
        random = seeds.generator(arguments.run.seed, "removal order")
        return tuple(torch.randperm(len(names), generator=random).tolist())
    order = numbers(arguments.order, names, "--removal_order")
    if len(order) < most:
        raise UsageError(f"--removal_order {flags.removal_order}: names {len(order)}, too few for --removed {most}")
    return order


def point(setup: TransferSetup, count: int) -> PointSetup:
    """The inputs of one point, a run of its own that writes to a subfolder.

    Args:
        count: number of classes to remove.
    """
    name, folder = setup.method.name, setup.folder / f"removed_{count}"
    unlearning = setup.unlearning | {"removed_classes": sorted(setup.order[:count])}
    stamp = fingerprint(unlearning)
    stored = find(folder / f"{name}checkpoint.pth.tar", stamp)
    outputs = [f"{name}target.pth.tar", f"{name}targetprogress.pth.tar"]
    outputs += [f"{name}checkpoint.pth.tar", f"{name}progress.pth.tar"] if stored is None else []
    own = {
        "label": f"transfer-{name}",
        "outputs": outputs,
        "config": unlearning | {key: setup.config[key] for key in ("probe", "target")},
        "run": replace(setup.run, save_dir=str(folder)),
    }
    return PointSetup(**{**vars(setup), **own}, count=count, stamp=stamp, stored=stored)


def find(path: Path, stamp: str) -> Checkpoint | None:
    """The checkpoint at ``path``, if it exists and is of the unlearned model with this stamp; else None.

    Raises:
        UsageError: it is damaged.
    """
    if not path.exists():
        return None
    checkpoint = checkpoints.read(path, "--save_dir")
    return checkpoint if checkpoint.extra.get("fingerprint") == stamp else None
