"""Flags of ``main_transfer.py``: source classes to remove, target data set and probe. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from trainer.training_flags import Arguments, Optimisation
from unlearn.unlearn_flags import Unlearn
from utils.options import NO_IDENTITY, changed, option


@dataclass(frozen=True)
class Source:
    """The trained model that classes are removed from, and how."""

    unlearn: str = changed(Unlearn, "unlearn", "FT_prune")
    preset: str | None = changed(Unlearn, "preset", None)
    mask: str | None = changed(
        Unlearn, "mask", None, help="checkpoint of the source model, dense or pruned (needed)", common=True, aliases=()
    )
    allow_split_mismatch: bool = changed(Unlearn, "allow_split_mismatch", False)


@dataclass(frozen=True)
class Transfer:
    """The target data set, and the source classes to remove."""

    target: str | None = option(
        None, "folder of the target data set: train/<class>/*, test/<class>/*", common=True, metavar="DIR"
    )
    target_dataset: str | None = option(
        None, "or its name, as for --dataset; --target is then what --data is to it", common=True, metavar="NAME"
    )
    removed: tuple[int, ...] = option(
        (0, 1, 2), "how many source classes to remove, a model for each number", common=True, low=0, metavar="K,K"
    )
    removal_order: str | None = option(
        None, "names or numbers of classes, or a file of them; without it drawn from --seed", metavar="LIST|FILE"
    )


@dataclass(frozen=True)
class LinearProbe:
    """A new head alone, by logistic regression on the frozen features."""

    probe: str = option(
        "linear",
        "a new head on frozen features (linear), or everything (full)",
        common=True,
        choices=("linear", "full"),
    )
    probe_l2: float = option(1.0, "linear: half the weight of the head's squared norm in the sum of losses", above=0)


@dataclass(frozen=True)
class FullProbe(Optimisation):
    """A new head and everything below it, by the training loop."""

    probe: str = changed(LinearProbe, "probe", "full")
    probe_epochs: int = option(30, "full: passes over the target's training images", common=True, low=0)
    probe_lr: float = option(0.01, "full: step size", common=True, above=0)
    schedule: str = option(
        "cosine", "step size over the epochs; unlearning has its own default", choices=("step", "cosine", "constant")
    )


@dataclass(frozen=True, kw_only=True)
class TransferArguments(Arguments):
    """The parsed command line of ``main_transfer.py``.

    Attributes:
        hyper: the method's own configuration.
        order: names or numbers of the classes to remove, as typed; None to draw them.
    """

    training: ClassVar[str] = "probe"
    unlearn: Source
    hyper: Any
    transfer: Transfer = field(metadata=NO_IDENTITY)  # of these three, the Setup adds the resolved values
    order: tuple[str, ...] | None = field(metadata=NO_IDENTITY)
    probe: LinearProbe | FullProbe = field(metadata=NO_IDENTITY)
