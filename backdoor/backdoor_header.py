"""What ``main_backdoor.py`` says of its run before it begins."""

from __future__ import annotations

from pathlib import Path

from arg_parser import BackdoorArguments, settings, steps
from backdoor.job import Checked, Job
from trainer.given import provenance
from unlearn.session import outputs
from utils import preview

CURVE = ["backdoor.md", "backdoor.csv", "backdoor.png"]  # what a run at several sparsities writes of its own


def intended(arguments: BackdoorArguments, checked: Checked) -> dict[str, str]:
    """What ``--dry_run`` says: what would be read, poisoned, trained, unlearned and written, and what of it is there."""
    poisoned = preview.images(checked.chosen, checked.scenario)
    label, own = (
        ("curve", CURVE) if arguments.sparsities is not None else (checked.method.name, outputs(checked.method))
    )
    return {
        "read": preview.data(checked.chosen),
        "poison": f"{poisoned} get a {arguments.trigger.words} and label {checked.target} ({checked.chosen.names[checked.target]})",
        **origin(arguments, checked),
        **({"training": steps(arguments.train)} if checked.given is None else {}),
        "method": steps(arguments.hyper),
        "run": preview.run(arguments, checked.device),
        "write": preview.folder(arguments, label, checked.config, own),
        **preview.not_read(arguments),
    }


def origin(arguments: BackdoorArguments, checked: Checked) -> dict[str, str]:
    """Where the poisoned model comes from."""
    if checked.given is not None:
        return {
            "model": f"{arguments.model.arch}, from {arguments.unlearn.mask}; flags of training and pruning are not read"
        }
    prune = arguments.prune
    how = {"none": "dense", "omp": "OMP", "imp": f"IMP, {prune.pruning_times} rounds", "synflow": "SynFlow"}[
        prune.prune
    ]
    rates = arguments.sparsities or (() if prune.prune == "none" else (prune.rate,))
    words = f"{arguments.model.arch}, trained here; {how}" + (
        f" at rate {', '.join(f'{rate:g}' for rate in rates)}" if rates else ""
    )
    return {"model": words, "training": settings(arguments.train)}


def header(arguments: BackdoorArguments, checked: Checked, job: Job, folder: Path) -> dict[str, str]:
    """What is poisoned, trained or loaded, and unlearned, with which numbers."""
    data, run = job.bench.data, arguments.run
    sizes = "  ".join(f"{name} {len(images):,}" for name, images in job.bench.sets.items())
    facts = {
        "poison": job.words,
        "data": f"{data.name}, {len(data.classes)} classes; {sizes}",
        **data.notes,
        "split": f"seed {job.bench.base.seed}, digest {job.bench.base.digest}, poison {job.poison.digest}",
        **origin(arguments, checked),
        **provenance(arguments, checked.given, checked.rewound),
        "method": settings(arguments.hyper) or "no hyper-parameters",
        "run": f"setup random seed = {run.seed}, {run.train_seed} in training  compat {run.compat}  device {checked.device}",
        "folder": str(folder),
    }
    if arguments.unread:
        facts["not read"] = f"{', '.join(arguments.unread)}: nothing that {checked.method.name} or this script uses"
    return facts
