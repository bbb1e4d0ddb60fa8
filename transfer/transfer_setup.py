"""What a transfer has settled before an image is read: source, classes to remove, model, and target."""

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
    """A transfer before its data are read.

    Attributes:
        target: the data set to carry the model over to.
        order: source classes by number, the first to be removed first.
        removed: how many of them, ascending; a model for each.
        probe: how the target is learnt.
        unlearning: what decides an unlearned model, but for the removed classes.
    """

    target: DatasetInfo
    order: tuple[int, ...]
    removed: tuple[int, ...]
    probe: LinearProbe | FullProbe
    unlearning: dict[str, Any]

    @property
    def target_name(self) -> str:
        """The target's name, or that of its folder."""
        source = self.target.source
        return self.target.root.resolve().name if source.name == "folder" else source.name

    def listed(self, count: int) -> str:
        """The first classes to be removed, by number and name."""
        names = self.dataset.names
        return ", ".join(f"{label} ({names[label]})" for label in self.order[:count])


@dataclass(frozen=True, kw_only=True)
class PointSetup(TransferSetup):
    """One number of removed classes.

    Attributes:
        stamp: names the unlearned model, whatever its target.
        stored: the checkpoint of that model if an earlier run left it, or None.
    """

    count: int
    stamp: str
    stored: Checkpoint | None

    @property
    def classes(self) -> tuple[int, ...]:
        """Those that are removed."""
        return self.order[: self.count]

    @property
    def scenario(self) -> Scenario:
        """What forgets the removed classes whole."""
        return Scenario(tuple(sorted(self.classes))).resolve(self.dataset.train_counts)

    @property
    def weights(self) -> Checkpoint | None:
        """Those of the finished model, or those to begin with; without removed classes those of the source."""
        return self.stored or (super().weights if self.count else self.checkpoint)


def set_up(arguments: TransferArguments) -> TransferSetup:
    """Refuse what can be refused without reading data: device, data sets, classes, architecture, checkpoint."""
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
    """Source classes by number, the first to be removed first: as typed, or all of them as drawn from ``--seed``.

    Raises:
        UsageError: an unknown class, or more classes to remove than there are or than were named.
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
    """One number of removed classes as a run of its own, in a folder below."""
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
    """The unlearned model with this stamp, if an earlier run left it; None if not."""
    if not path.exists():
        return None
    checkpoint = checkpoints.read(path, "--save_dir")
    return checkpoint if checkpoint.extra.get("fingerprint") == stamp else None
