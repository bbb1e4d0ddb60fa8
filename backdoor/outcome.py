"""What ``main_backdoor.py`` prints about a cleanse, or about a curve of several: preview, header and result."""

from __future__ import annotations

from typing import Any

from backdoor.cleanse_setup import CleanseSetup, CurveSetup
from backdoor.poisoned_problem import PoisonedProblem
from report import backdoor_table
from report.verdict import backdoor_sentence
from trainer import messages
from utils.log import Log


def preview(setup: CleanseSetup) -> dict[str, str]:
    """The lines of ``--dry_run``, by name: what would be read, poisoned, trained and unlearned."""
    poisoned, target = messages.images(setup.dataset, setup.scenario), setup.target
    return {
        "read": messages.data(setup.dataset),
        "poison": f"{poisoned} get a {setup.trigger.words} and label {target} ({setup.dataset.names[target]})",
        **origin(setup),
        **({"training": messages.steps(setup.train)} if setup.checkpoint is None else {}),
        "method": messages.steps(setup.hyper),
    }


def origin(setup: CleanseSetup) -> dict[str, str]:
    """Lines, by name, that say where the poisoned model comes from: a file, or training and pruning."""
    if setup.checkpoint is not None:
        return {"model": f"{setup.arch}, from {setup.mask_file}; flags of training and pruning are not read"}
    prune = setup.prune
    pruning = {"none": "dense", "omp": "OMP", "imp": f"IMP, {prune.pruning_times} rounds", "synflow": "SynFlow"}
    points = [point.prune.rate for point in setup.points] if isinstance(setup, CurveSetup) else []
    rates = points or ([] if prune.prune == "none" else [prune.rate])
    listed = f" at rate {', '.join(f'{rate:g}' for rate in rates)}" if rates else ""
    return {
        "model": f"{setup.arch}, trained here; {pruning[prune.prune]}{listed}",
        "training": messages.settings(setup.train),
    }


def header(setup: CleanseSetup, problem: PoisonedProblem) -> dict[str, str]:
    """The lines of the run's header, by name: poison, data, split, model, method and seeds."""
    data, run, base = problem.data, setup.run, problem.base
    seeds = f"{run.seed}, {run.train_seed} in training"
    return {
        "poison": problem.words,
        "data": f"{data.name}, {len(data.classes)} classes; {messages.sizes(problem.sizes)}",
        **data.notes,
        "split": f"{base.words}, poison {problem.poison.digest}",
        **origin(setup),
        **messages.provenance(setup, setup.checkpoint, setup.rewound),
        "method": messages.settings(setup.hyper) or "no hyper-parameters",
        "run": f"setup random seed = {seeds}  compat {run.compat}  device {setup.device}",
    }


def show(setup: CleanseSetup, result: dict[str, Any], log: Log) -> None:
    """Print the table, and for a single cleanse a sentence on whether the trigger still works."""
    single = not isinstance(setup, CurveSetup)
    points = [result] if single else backdoor_table.results_of(result, setup.method.paper)
    log.line(f"\n{backdoor_table.printed(points)}")
    if single:
        log.line(f"\n{backdoor_sentence(result)}")
