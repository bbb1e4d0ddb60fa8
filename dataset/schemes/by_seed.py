"""The default: a tenth of every class, drawn by ``--split_seed``, validates, and ``--seed`` draws what is forgotten."""

from __future__ import annotations

from dataclasses import replace

from dataset.split import BaseSplit, Draw, scheme, split_base
from utils.errors import UsageError

REFERENCE_BASE_SEED = 1  # the reference trains on this split whatever its flags say


@scheme("seeds")
def seeds(draw: Draw) -> BaseSplit:
    """The split of ``--split_seed``, or of ``--seed`` without it.

    In ``--compat reference`` models are trained on split 1, and forget and retain images come from that of ``--seed``.
    """
    if draw.argument:
        raise UsageError(f"--split seeds:{draw.argument}: seeds takes no argument; give --split_seed {draw.argument}")
    reference = draw.compat == "reference"
    default = REFERENCE_BASE_SEED if reference else draw.seed
    base = split_base(draw.labels, default if draw.split_seed is None else draw.split_seed, draw.with_validation)
    return replace(base, pool=split_base(draw.labels, draw.seed, draw.with_validation)) if reference else base
