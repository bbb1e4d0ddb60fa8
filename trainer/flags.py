"""The flags of everything that trains. Imports no torch, because ``--help`` needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from utils.options import option

# What transformers train with unless told otherwise (Dosovitskiy et al. 2021; Liu et al. 2021).
TRANSFORMER = {"optimizer": "adamw", "schedule": "cosine", "weight_decay": 0.05}
MILESTONES = (91, 136)  # the reference's, of 182 epochs


@dataclass(frozen=True)
class Stepping:
    """How to take one step, whatever the steps add up to."""

    batch_size: int = option(256, "images per step", common=True, low=1, search=[64, 128, 256])
    optimizer: str = option("sgd", "how to step", choices=("sgd", "adam", "adamw"))
    momentum: float = option(0.9, "SGD momentum", low=0, below=1)
    weight_decay: float = option(5e-4, "weight decay", low=0, search=(1e-5, 1e-1, "log"))
    amp: bool = option(False, "forward passes in bfloat16")


@dataclass(frozen=True)
class Optimisation(Stepping):
    """What pre-training and every iterative unlearning method share; epochs and step size are their own."""

    schedule: str = option(
        "step",
        "step size over the epochs: a fraction of it after --decreasing_lr (step) or after 50, 80 and 90 % of the epochs (drops), "
        "up and down (triangle)",
        choices=("step", "cosine", "constant", "triangle", "drops"),
    )
    decreasing_lr: tuple[int, ...] = option(
        MILESTONES,
        "epochs after which schedule step falls to a tenth; training new weights for fewer epochs scales them",
        common="epochs after which the step size falls to a tenth",
        low=0,
        metavar="N,N",
    )
    warmup: int = option(0, "first epochs over which the step size grows linearly", low=0)
    sam_rho: float = option(
        0.0, "radius of adaptive sharpness-aware minimisation (2 in the field's code); 0 is off", low=0
    )


def is_transformer(arch: str) -> bool:
    """Whether an architecture's name is that of a transformer, which trains by ``TRANSFORMER``."""
    return any(word in arch.lower() for word in ("vit", "swin", "deit", "beit", "hf:"))


def epochs_of(config: Any) -> float | None:
    """The epochs of a training's or a method's flags; None if they have none."""
    names = ("epochs", "unlearn_epochs", "probe_epochs")
    return next((getattr(config, name) for name in names if hasattr(config, name)), None)


def milestones(epochs: int) -> tuple[int, ...]:
    """``MILESTONES`` scaled from 182 to so many epochs: a half and three quarters of them, apart and below ``epochs``.

    Two epochs have room for one only, less for none: then they are ``MILESTONES``, which are not reached.
    """
    first = epochs // 2
    second = max(first + 1, (2 * MILESTONES[1] * epochs + 182) // 364)
    return tuple(epoch for epoch in (first, second) if 0 < epoch < epochs) or MILESTONES


def beyond(config: Any) -> tuple[int, ...]:
    """The milestones of schedule "step" that a training or a method never reaches."""
    epochs = epochs_of(config)
    if not epochs or getattr(config, "schedule", None) != "step":
        return ()
    ahead = getattr(config, "rewind_epoch", 0) if getattr(config, "rewind_pth", None) else 0
    return tuple(epoch for epoch in config.decreasing_lr if epoch - ahead >= epochs)
