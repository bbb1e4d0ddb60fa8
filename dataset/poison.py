"""A data set with a backdoor: poisoned copies beside the clean images, and the sets made of both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from dataset.images import Images
from dataset.prepare import Views
from dataset.sources import Dataset
from dataset.split import BaseSplit, digest
from dataset.trigger import PLACES, Trigger


@dataclass(frozen=True)
class Poison:
    """What an attacker did to a training set.

    Attributes:
        indices: positions of the poisoned images in the official training set, int64, ascending.
        target: the label that they all got.
        trigger: what was stamped on them.
    """

    indices: np.ndarray
    target: int
    trigger: Trigger

    @property
    def digest(self) -> str:
        """16 hex digits that identify images, label and trigger; stored in every checkpoint trained on them."""
        trigger = self.trigger
        return digest(self.indices, np.array([self.target, trigger.size, PLACES.index(trigger.place), trigger.value]))

    def apply(self, data: Dataset) -> Dataset:
        """``data`` with triggered images appended, all labelled ``target``.

        Copies of the poisoned images follow the N training images, in the order of ``indices``. Copies of all M test
        images follow these, so test image i with the trigger is image M + i.
        """
        target = np.int64(self.target)
        return replace(
            data,
            train_images=np.concatenate([data.train_images, self.trigger.stamp(data.train_images[self.indices])]),
            train_labels=np.append(data.train_labels, np.full(len(self.indices), target)),
            test_images=np.concatenate([data.test_images, self.trigger.stamp(data.test_images)]),
            test_labels=np.append(data.test_labels, np.full(len(data.test_labels), target)),
        )


def image_sets(
    data: Dataset, poison: Poison, base: BaseSplit, val: np.ndarray | None, device: torch.device
) -> dict[str, Images]:
    """The sets of a poisoned training and of its cleansing.

    Args:
        data: the data set without poison.
        base: the split; ``poison.indices`` are among its training images.
        val: positions of validation images in the training set; None for the data set's own validation images or, if it
            has none, the clean test images.
        device: where batches, labels and indices are.
    Returns:
        "train" (clean, then poisoned), "retain" (its clean part), "forget" (its poisoned part, labelled
        ``target``), "val" and "test" (clean), "triggered" (every test image with the trigger, labelled ``target``).
    """
    views = Views(poison.apply(data), device)
    clean = np.setdiff1d(base.train, poison.indices, assume_unique=True)
    poisoned = len(data.train_labels) + np.arange(len(poison.indices))
    test = np.asarray(base.sets(len(data.test_labels))["test"])
    has_val = val is not None or data.val is not None
    return {
        "train": views.train(np.concatenate([clean, poisoned])),
        "retain": views.train(clean),
        "forget": views.train(poisoned),
        "val": views.val(val) if has_val else views.test(test),  # the test images without the trigger
        "test": views.test(test),
        "triggered": views.test(test + len(data.test_labels)),
    }
