"""What the methods of the Deep Unlearn benchmark share. Imports no torch, because ``--help`` needs it."""
from __future__ import annotations

from dataclasses import dataclass

from unlearn.registry import Iterative
from utils.options import changed

PAPER = "Cadet et al. 2025 (Deep Unlearn)"
OWN = {"deepunlearn": {}}  # the preset of a method whose defaults are Deep Unlearn's already
FRACTION = (0.0, 1.0, "linear")
EPOCHS = (1, 37, "linear")  # a fifth of the 182 epochs that its models were trained for
LR = WEIGHT_DECAY = (1e-5, 1e-1, "log")
TEMPERATURE = (0.1, 5.0, "log")


@dataclass(frozen=True)
class Benchmarked(Iterative):
    """Flags of a method that trains on images as they are, at a constant step size unless told otherwise."""

    schedule: str = changed(Iterative, "schedule", "constant")
    no_aug: bool = changed(Iterative, "no_aug", True, help="train without random crop and flip; with false after it, with them")
