"""The default split: ``--split_seed`` draws a tenth of every class for validation, ``--seed`` the images to forget."""

from __future__ import annotations

from dataclasses import replace

from dataset.split import BaseSplit, Draw, scheme, split_base
from utils.errors import UsageError

REFERENCE_BASE_SEED = 1  # the reference trains on this split, whatever seed is typed


@scheme("seeds")
def seeds(draw: Draw) -> BaseSplit:
    """The split of ``--split_seed``, or of ``--seed`` without it.

    With ``--compat reference``, models are trained on the split of seed 1 by default, and forget and retain images come
    from the split of ``--seed``.

    Raises UsageError: the scheme was given an argument.
    """
    if draw.argument:
        raise UsageError(f"--split seeds:{draw.argument}: seeds takes no argument; give --split_seed {draw.argument}")
    reference = draw.compat == "reference"
    default = REFERENCE_BASE_SEED if reference else draw.seed
    base = split_base(draw.labels, default if draw.split_seed is None else draw.split_seed, draw.with_validation)
    return replace(base, pool=split_base(draw.labels, draw.seed, draw.with_validation)) if reference else base
