"""The architecture of a run, built once, and the reading of checkpoints that must fit it."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

import models
from dataset.prepare import DatasetInfo
from dataset.sources import Dataset
from models.normalize import Normalize
from trainer import checkpoints, origin
from trainer.checkpoints import Checkpoint
from trainer.training_flags import Model
from utils import foreign, seeds
from utils.errors import UsageError
from utils.run_flags import Run


@dataclass(frozen=True)
class Network:
    """An architecture for one data set.

    Attributes:
        flags: the flags of architecture and input statistics.
        dataset: the data set that it classifies.
        fresh: a model with new weights from the run's ``weights_seed``, on the CPU; it is copied but never changed.
        allow_pickle: read checkpoints that need pickle, which can run code.
    """

    flags: Model
    dataset: DatasetInfo
    fresh: nn.Module = field(repr=False)
    allow_pickle: bool = False

    def read(self, path: str, flag: str, masks_alone: bool = False) -> Checkpoint:
        """Open a checkpoint and check its architecture, its classes, and its input statistics against typed ones.

        Args:
            path: the file.
            flag: the flag that names it, for errors.
            masks_alone: whether a file with masks but no weights is accepted.
        Raises:
            UsageError: names the flag, the file and what is wrong or differs.
        """
        flags, name = self.flags, self.dataset.source.name
        checkpoint = checkpoints.read(Path(path), flag, self.allow_pickle, self.fresh)
        checkpoints.check_fits(checkpoint, self.fresh, flags.arch, flag, masks_alone, name, flags.imagenet_arch)
        differ = origin.classes_differ(checkpoint.extra, self.dataset.names)
        if differ is not None:
            raise UsageError(
                f"{flag} {path}: {differ}; give the data set that it was trained on, with the same class folders"
            )
        self._check_statistics(checkpoint, f"{flag} {path}")
        return checkpoint

    def _check_statistics(self, checkpoint: Checkpoint, source: str) -> None:
        held = [value.tolist() for name in foreign.NORMALIZE if (value := checkpoint.weights.get(name)) is not None]
        typed = (self.flags.mean or (), self.flags.std or ())
        if any(abs(a - b) > 1e-4 for one, other in zip(held, typed) for a, b in zip(one, other)):
            stored = " and ".join(",".join(f"{value:.4g}" for value in values) for values in held)
            raise UsageError(
                f"{source}: normalises its input by mean and standard deviation {stored}; leave --mean and --std out"
            )

    def blank(self) -> nn.Module:
        """A copy of ``fresh`` on the meta device, which has shapes but no values."""
        return copy.deepcopy(self.fresh).to("meta")

    def model(self, data: Dataset, weights: Checkpoint | None = None) -> nn.Module:
        """A copy of ``fresh`` on the CPU, with the weights of a checkpoint if one is given.

        Args:
            data: the data set, whose statistics normalise the input unless flags, architecture or weights have others.
            weights: the checkpoint; None keeps the new weights.
        """
        model = copy.deepcopy(self.fresh)
        if getattr(model, "statistics", None) is None:
            model.normalize = Normalize(self.flags.mean or data.mean, self.flags.std or data.std)
        if weights is not None:
            checkpoints.load_weights(model, weights)
        return model


def new(flags: Model, dataset: DatasetInfo, run: Run) -> Network:
    """Build the architecture and try it on images of the data set's size.

    Raises:
        UsageError: it is unknown, or does not take images of this size.
    """
    pretrained = tuple(models.origin(flags.arch).items())
    fresh = _fresh(
        flags.arch, flags.imagenet_arch, dataset.classes, dataset.side, run.weights_seed, run.compat, pretrained
    )
    return Network(flags, dataset, fresh, run.allow_pickle)


@functools.lru_cache(maxsize=2)  # a sweep computes the identity of hundreds of commands with few architectures
def _fresh(arch: str, stem: bool, classes: int, side: int, seed: int, compat: str, pretrained: tuple) -> nn.Module:
    """A new model; ``pretrained`` identifies pretrained weights for the cache."""
    seeds.seed_everything(seed)
    return models.fitting(arch, classes, side, stem, compat=compat)
