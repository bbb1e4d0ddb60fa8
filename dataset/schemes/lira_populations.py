"""The populations of Deep Unlearn's U-LiRA (Cadet et al. 2025): ``lira:S:J`` is forget set J of split S.

A twentieth of the training images is for validation, the same in all splits. In split S half of the others are trained
on, and no model of this split sees the other half. Forget set J is a tenth of the images that are trained on. A model
that is trained on all of these is the same for every J, and so is the digest in its checkpoint.
"""

from __future__ import annotations

import re

import numpy as np

from dataset.split import scheme_by_count
from utils.errors import UsageError

SEED, SPLITS, FORGET_SETS = 123, 64, 10


def population_numbers(name: str | None) -> tuple[int, int] | None:
    """S and J of ``lira:S:J``, a value of ``--split``; None for any other split.

    Raises UsageError: a value ``lira:...`` without two such numbers.
    """
    kind, _, argument = (name or "").partition(":")
    return _numbers(argument) if kind == "lira" else None


@scheme_by_count("lira")
def lira(argument: str, total: int) -> dict[str, np.ndarray]:
    """Positions of retain, forget and validation images among ``total`` training images, int64, in the order drawn.

    Raises UsageError: ``argument`` is not S:J with numbers in range, or there are too few images.
    """
    split, forget_set = _numbers(argument)
    order = np.random.default_rng(SEED).permutation(total)
    validating = total // 20
    others = np.random.default_rng(split).permutation(order[: total - validating])
    train = np.random.default_rng(forget_set).permutation(others[: len(others) // 2])
    forgotten = len(train) // 10
    if not validating or not forgotten:
        raise UsageError(f"--split lira:{argument}: {total} training images are too few; it takes 21 or more")
    return {"retain": train[:-forgotten], "forget": train[-forgotten:], "val": order[total - validating :]}


def _numbers(argument: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,4}):([0-9]{1,4})", argument)
    numbers = (int(match[1]), int(match[2])) if match else (SPLITS, FORGET_SETS)
    if numbers[0] >= SPLITS or numbers[1] >= FORGET_SETS:
        form = f"must be lira:S:J, split S from 0 to {SPLITS - 1} and forget set J from 0 to {FORGET_SETS - 1}"
        raise UsageError(f"--split lira{':' if argument else ''}{argument}: {form}")
    return numbers
