"""The four objectives of the Deep Unlearn benchmark (Cadet et al. 2025), each searched at once on every seed."""

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
    """A third of the distance to Retrain in retain, forget and validation accuracy, and |2 attack - 1|, in [0, 1].

    The attack tells forget from validation images by their loss. Values that are not finite become infinite. For a
    method that trains on the validation images, what they say is no measure, so both are 0.

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
