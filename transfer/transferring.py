"""The stages of ``main_transfer.py``: measures each number of removed classes, and makes a table of all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pruner
from report import transfer_table
from trainer import messages
from trainer.pipeline import Place, Stages
from transfer.point import measure
from transfer.transfer_problem import TransferProblem, read
from transfer.transfer_setup import TransferSetup, point, set_up
from utils.log import Log
from utils.result import Result


def facts(setup: TransferSetup, problem: TransferProblem) -> Result:
    """The entries of ``result.json`` that are known before the run's work."""
    return setup.result(method=setup.method.name, removal_order=setup.config["removal_order"])


def run(setup: TransferSetup, problem: TransferProblem, record: Result, place: Place) -> Result:
    """Measure every number of removed classes; the record with the results as ``points``."""
    points = [measure(point(setup, count), problem, place.argv) for count in setup.removed]
    for measured in points:
        place.log.record("point", **{key: measured[key] for key in ("removed", "accuracy", "seconds")})
    return replace(record, points=points)


def preview(setup: TransferSetup) -> dict[str, str]:
    """The lines of ``--dry_run``, by name: what would be read, removed and transferred."""
    return {
        "read": messages.data(setup.dataset),
        "model": f"{setup.arch}, {setup.mask_file}, keeps {100 * pruner.density(setup.mask):.2f} % of its prunable "
        "weights",
        "remove": f"{', '.join(map(str, setup.removed))} classes, in this order: "
        + (setup.listed(setup.removed[-1]) or "none"),
        "transfer to": messages.data(setup.target),
        "method": messages.steps(setup.hyper),
        "probe": messages.steps(setup.probe),
    }


def header(setup: TransferSetup, problem: TransferProblem) -> dict[str, str]:
    """The lines of the run's header, by name: removed classes, source, target, model, method, probe and seeds."""
    data, target, run = problem.data, problem.target, setup.run
    sizes = f"train {len(problem.base.train):,}  test {len(data.test_labels):,}"
    others = f"train {len(target.train):,}  test {len(target.test):,}"
    return {
        "remove": f"{', '.join(map(str, setup.removed))} of {len(data.classes)} classes, in this order: "
        + (setup.listed(setup.removed[-1]) or "none"),
        "source": f"{data.name}: {sizes}  split digest {problem.base.digest}",
        **{f"source: {name}": words for name, words in data.notes.items()},
        "target": f"{setup.target_name}: {target.classes} classes, {others}",
        **{f"target: {name}": words for name, words in problem.target_data.notes.items() if name != "validation"},
        "model": f"{setup.arch}, * remain weight ratio = {100 * pruner.density(setup.mask):.2f} %, {setup.mask_file}",
        **messages.provenance(setup, setup.checkpoint, setup.rewound),
        "method": messages.settings(setup.hyper) or "no hyper-parameters",
        "probe": messages.settings(setup.probe),
        "run": f"setup random seed = {run.seed}  compat {run.compat}  device {setup.device}",
    }


def show(setup: TransferSetup, result: dict[str, Any], log: Log) -> None:
    """Print the table and write it as transfer.md, transfer.csv and transfer.png."""
    log.line()
    transfer_table.show(result["points"], setup.folder)


STAGES = Stages(set_up, preview, read, header, facts, run, show)
