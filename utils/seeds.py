"""Seeds by purpose: random numbers depend on what they are for, not on what was drawn before."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose, e.g. ``derive(2, "order", epoch)``.

    Each purpose has a stream of its own, so that an epoch draws the same numbers when it is repeated after a kill.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: object) -> torch.Generator:
    """A CPU generator seeded by ``derive``; drawing on the CPU gives every device the same numbers."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (all devices); 0 is a seed like any other."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
