"""What ``main_transfer.py`` says of its run before it begins."""

from __future__ import annotations

from pathlib import Path

import pruner
from arg_parser import TransferArguments, settings, steps
from trainer.given import provenance
from transfer.job import Bench, Checked, listed, target_name
from utils import preview

OUTPUTS = ["transfer.md", "transfer.csv", "transfer.png"]


def intended(arguments: TransferArguments, checked: Checked) -> dict[str, str]:
    """What ``--dry_run`` says: what would be read, removed, transferred and written, and what of it is there."""
    names = checked.source.names
    return {
        "read": preview.data(checked.source),
        "model": f"{arguments.model.arch}, {arguments.unlearn.mask}, keeps {100 * pruner.density(checked.start.mask):.2f} % of its prunable weights",
        "remove": f"{', '.join(map(str, checked.removed))} classes, in this order: {listed(checked.order[: checked.removed[-1]], names) or 'none'}",
        "transfer to": preview.data(checked.target),
        "method": steps(arguments.hyper),
        "probe": steps(arguments.probe),
        "run": preview.run(arguments, checked.device),
        "write": preview.folder(arguments, "transfer", checked.config, OUTPUTS),
        **preview.not_read(arguments),
    }


def header(arguments: TransferArguments, checked: Checked, bench: Bench, folder: Path) -> dict[str, str]:
    """What is removed from which model, and where it is carried, with which numbers."""
    data, target = bench.data, bench.target
    found = {
        "remove": f"{', '.join(map(str, checked.removed))} of {len(data.classes)} classes, in this order: "
        + (listed(checked.order[: checked.removed[-1]], data.classes) or "none"),
        "source": f"{data.name}: train {len(bench.base.train):,}  test {len(data.test_labels):,}  split digest {bench.base.digest}",
        **{f"source: {name}": words for name, words in data.notes.items()},
        "target": f"{target_name(checked)}: {target.classes} classes, train {len(target.train):,}  test {len(target.test):,}",
        **{f"target: {name}": words for name, words in bench.target_data.notes.items() if name != "validation"},
        "model": f"{arguments.model.arch}, * remain weight ratio = {100 * pruner.density(checked.start.mask):.2f} %, {arguments.unlearn.mask}",
        **provenance(arguments, checked.start.given, checked.start.rewound),
        "method": settings(arguments.hyper) or "no hyper-parameters",
        "probe": settings(arguments.probe),
        "run": f"setup random seed = {arguments.run.seed}  compat {arguments.run.compat}  device {checked.device}",
        "folder": str(folder),
    }
    if arguments.unread:
        found["not read"] = (
            f"{', '.join(arguments.unread)}: nothing that {checked.method.name}, --probe {arguments.probe.probe} or this script uses"
        )
    return found
