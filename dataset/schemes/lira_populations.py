"""The populations of Deep Unlearn's U-LiRA (Cadet et al. 2025): ``lira:S:J`` is forget set J of split S.

One twentieth of the training images validates, the same in all splits. Half of the others train in split S, the
other half no model of this split sees. A tenth of those that train is forget set J. Models that are trained on all
images of split S are the same for every J, and their checkpoints have the same digest.
"""

from __future__ import annotations

import re

import numpy as np

from dataset.split import scheme_by_count
from utils.errors import UsageError

SEED, SPLITS, FORGET_SETS = 123, 64, 10


def population_numbers(name: str | None) -> tuple[int, int] | None:
    """Split S and forget set J of a value of ``--split``; None for any other split.

    Raises UsageError: the value begins with "lira" and has no such numbers.
    """
    kind, _, argument = (name or "").partition(":")
    return _numbers(argument) if kind == "lira" else None


@scheme_by_count("lira")
def lira(argument: str, total: int) -> dict[str, np.ndarray]:
    """Retain, forget and validation images of ``total``, int64, each in the order drawn.

    Raises UsageError: numbers that are none or out of range, or too few images.
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
