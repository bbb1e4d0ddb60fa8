"""The four objectives of the Deep Unlearn benchmark (Cadet et al. 2025), minimised jointly, for each seed alone."""

from __future__ import annotations

import math

from dataset.catalog import NO_VAL
from evaluation.closeness import indiscernibility
from sweep.objective import Results, objective
from unlearn import registry
from utils.errors import UsageError

SETS = ("retain", "forget", "val")


@objective(
    "deepunlearn",
    "retain gap / 3",
    "forget gap / 3",
    "val gap / 3",
    "discernibility",
    per_seed=True,
    sampler="nsga3",
    failed=(math.inf,) * 4,
)
def four_objectives(ours: Results, exact: Results, spread: float) -> tuple[float, ...]:
    """Gaps to Retrain in retain, forget and validation accuracy, each divided by 3, and the discernibility.

    The discernibility is |2 a - 1|, where a is the accuracy in [0, 1] of an attack that tells forget from validation
    images by their loss. For a method that trains on the validation images, its validation gap and discernibility
    measure nothing and are 0.

    Args:
        ours: the trial's one result.
        exact: Retrain's result on the same seed.
        spread: not used, as there is one seed.
    Returns:
        Four values: the gaps in [0, 1/3] and the discernibility in [0, 1]; infinite in place of NaN.
    Raises:
        UsageError: there are no validation images, or too few to attack.
    """
    [run], [retrained] = ours, exact
    if str(run["model"]["dataset"]).endswith(NO_VAL):
        raise UsageError("optuna: objective deepunlearn: needs validation images; leave no_val out")
    third = [abs(run["accuracy"][name] - retrained["accuracy"][name]) / 3 for name in SETS]
    if registry.get(run["method"]).trains_on_val:
        values = [*third[:2], 0.0, 0.0]
    else:
        attack = run.get("deepunlearn", {}).get("val", {}).get("attack")
        if attack is None:
            raise UsageError("optuna: objective deepunlearn: needs at least six validation and forget images to attack")
        values = [*third, 1 - indiscernibility(attack)]
    return tuple(value if math.isfinite(value) else math.inf for value in values)
