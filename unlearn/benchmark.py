"""What the methods of the Deep Unlearn benchmark share. Imports no torch, because ``--help`` needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from unlearn import presets
from unlearn.registry import Iterative, method
from utils.options import changed

PAPER = "Cadet et al. 2025 (Deep Unlearn)"
SFRON = "Huang et al. 2024 (SFR-on)"
FRACTION = (0.0, 1.0, "linear")
EPOCHS = (1, 37, "linear")  # a fifth of the 182 epochs that its models were trained for
LR = WEIGHT_DECAY = (1e-5, 1e-1, "log")
TEMPERATURE = (0.1, 5.0, "log")


@dataclass(frozen=True)
class Benchmarked(Iterative):
    """Flags of a method that by default trains without augmentation, at a constant step size."""

    schedule: str = changed(Iterative, "schedule", "constant")
    no_aug: bool = changed(
        Iterative, "no_aug", True, help="train without random crop and flip; with false after it, with them"
    )


@dataclass(frozen=True)
class Entry(Benchmarked):
    """Flags of an entry of the NeurIPS 2023 unlearning challenge that fine-tunes on the retain set."""

    unlearn_epochs: int = changed(Benchmarked, "unlearn_epochs", 3)
    unlearn_lr: float = changed(Benchmarked, "unlearn_lr", 1e-3)
    batch_size: int = changed(Benchmarked, "batch_size", 64)
    schedule: str = changed(Benchmarked, "schedule", "cosine")


def benchmarked(name: str, **declared: Any) -> Callable:
    """``registry.method`` for a method whose defaults are Deep Unlearn's; by default it is for classification only."""
    return method(name, **({"presets": {"deepunlearn": {}} | presets.of(name), "tasks": {"classification"}} | declared))


def challenge_entry(name: str, rank: int, **declared: Any) -> Callable:
    """``benchmarked`` for the entry that came ``rank``-th in the NeurIPS 2023 unlearning challenge."""
    source = f"an entry of the NeurIPS 2023 unlearning challenge; {PAPER}"
    return benchmarked(name, source=source, aliases=(f"kgltop{rank}",), **declared)


def reference_drops(config: Benchmarked, late: int) -> Benchmarked:
    """``config`` with schedule "drops" as in the reference: drops ``late`` epochs after 50, 80 and 90 %, rounded down.

    Another schedule is not changed.
    """
    if config.schedule != "drops":
        return config
    after = tuple(config.unlearn_epochs * tenths // 10 + late for tenths in (5, 8, 9))
    return replace(config, schedule="step", decreasing_lr=after)
