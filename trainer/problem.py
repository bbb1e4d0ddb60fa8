"""What a run works on: images, how they are divided, the sets on the device, and the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dataset import prepare, split_file
from dataset.images import Images
from dataset.sources import Dataset
from dataset.split import BaseSplit
from trainer import origin
from trainer.setup import Setup


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Data, split, image sets and model of a run.

    Attributes:
        data: the data set.
        base: its split into training and validation images.
        sets: image sets by name, on the device.
        model: the model that the run starts from, on the device.
        stamp: entries that every checkpoint of the run gets, on the model and the images that it was trained on.
    """

    data: Dataset
    base: BaseSplit
    sets: dict[str, Images]
    model: nn.Module
    stamp: dict[str, Any]

    def write_split(self, folder: Path) -> None:
        """Write ``split.npz``, the indices of the sets, to ``folder``."""
        split_file.write(folder, self.base.sets(len(self.data.test_labels)), self.base.digest)

    @property
    def sizes(self) -> dict[str, int]:
        """The number of images in each set."""
        return {name: len(images) for name, images in self.sets.items()}


def load(setup: Setup) -> tuple[Dataset, BaseSplit]:
    """Read the data set and make its split into training and validation images, for every script."""
    run, data = setup.run, setup.dataset.load()
    return data, prepare.base_split(data, run.seed, run.split_seed, run.compat)


def views(setup: Setup, data: Dataset) -> prepare.Views:
    """Makes image sets of ``data`` on the run's device."""
    return prepare.Views(data, setup.device, setup.data.workers, setup.run.compat)


def stamp(setup: Setup, base: BaseSplit) -> dict[str, Any]:
    """The entries that every checkpoint of a run gets: ``split_digest``, ``split_seed`` and ``origin``."""
    info = origin.of(setup.network.flags, setup.data, setup.dataset, setup.run.compat, base.seed, setup.run.train_seed)
    return {"split_digest": base.digest, "split_seed": base.seed, "origin": info}
