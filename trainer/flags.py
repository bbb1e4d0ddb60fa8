"""The flags of everything that trains with SGD. Imports no torch, because ``--help`` needs it."""
from __future__ import annotations

from dataclasses import dataclass

from utils.options import option


@dataclass(frozen=True)
class Sgd:
    """What pre-training and every iterative unlearning method share; epochs and step size are their own."""

    batch_size: int = option(256, "images per step", low=1)
    momentum: float = option(0.9, "SGD momentum", low=0, below=1)
    weight_decay: float = option(5e-4, "SGD weight decay", low=0)
    decreasing_lr: tuple[int, ...] = option((91, 136), "epochs after which the step size falls to a tenth", low=0, metavar="N,N")
    warmup: int = option(0, "first epochs over which the step size grows linearly", low=0)
