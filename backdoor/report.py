"""What ``main_backdoor.py`` says, draws and tables of a cleanse, or of several at increasing sparsity."""
from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from arg_parser import BackdoorArguments, settings
from backdoor.job import Checked, Job
from evaluation import plots, tables
from evaluation.backdoor import COLUMNS, long_rows, table
from evaluation.predict import Predictions
from trainer.given import provenance
from utils import files
from utils.log import Log
from utils.run_folder import RunFolder, environment

EXAMPLES = 8  # images in trigger.png, each of another class


def header(arguments: BackdoorArguments, checked: Checked, job: Job, folder: Path) -> dict[str, str]:
    """What is poisoned, trained or loaded, and unlearned, with which numbers."""
    data, run = job.bench.data, arguments.run
    sizes = "  ".join(f"{name} {len(images):,}" for name, images in job.bench.sets.items())
    facts = {
        "poison": job.words,
        "data": f"{data.name}, {len(data.classes)} classes; {sizes}",
        "split": f"seed {job.bench.base.seed}, digest {job.bench.base.digest}, poison {job.poison.digest}",
        "model": f"{arguments.model.arch}, from {arguments.unlearn.mask}; flags of training and pruning are not read",
    }
    if checked.given is None:
        prune = arguments.prune
        how = {"none": "dense", "omp": "OMP", "imp": f"IMP, {prune.pruning_times} rounds", "synflow": "SynFlow"}[prune.prune]
        rates = arguments.sparsities or (() if prune.prune == "none" else (prune.rate,))
        facts["model"] = f"{arguments.model.arch}, trained here; {how}" + (f" at rate {', '.join(f'{rate:g}' for rate in rates)}" if rates else "")
        facts["training"] = settings(arguments.train)
    facts |= {
        **provenance(arguments, checked.given, checked.rewound),
        "method": settings(arguments.hyper) or "no hyper-parameters",
        "run": f"setup random seed = {run.seed}, {run.train_seed} in training  compat {run.compat}  device {checked.device}",
        "folder": str(folder),
    }
    if arguments.unread:
        facts["not read"] = f"{', '.join(arguments.unread)}: nothing that {checked.method.name} or this script uses"
    return facts


def said(scores: dict[str, float | None]) -> str:
    """Scores on one line, in per cent."""
    return "  ".join(f"{title} {tables.percent(scores[name])} %" for name, title in COLUMNS.items())


def picture(path: Path, job: Job, outputs: dict[str, dict[str, Predictions]], method: str) -> None:
    """Some test images, clean and with the trigger, and what the model takes them for before and after."""
    data, poison = job.bench.data, job.poison
    labels = [label for label in range(len(data.classes)) if label != poison.target and (data.test_labels == label).any()][:EXAMPLES]
    chosen = [int((data.test_labels == label).argmax()) for label in labels]
    if not chosen:
        return
    rows = []
    for name, images in (("test", data.test_images[chosen]), ("triggered", poison.trigger.stamp(data.test_images[chosen]))):
        said = {when: [data.classes[outputs[when][name].logits[position].argmax()] for position in chosen] for when in outputs}
        rows.append(
            [
                (image, f"{data.classes[label]}\nbefore: {before}\nafter: {after}")
                for image, label, before, after in zip(images, labels, said["before"], said["after"])
            ]
        )
    plots.trigger_examples(path, rows, f"test images, clean and triggered (target {data.classes[poison.target]}), and the model's answer before and after {method}")


def point(found: dict[str, Any]) -> dict[str, Any]:
    """A finished cleanse as a row of a table."""
    scores = found["scores"]
    return {"sparsity": found["model"]["sparsity"], "before": scores["before"], "after": scores["after"], "RTE": scores["RTE"]}


def finish(folder: RunFolder, job: Job, checked: Checked, results: list[dict[str, Any]]) -> None:
    """Write the curve as Markdown, CSV and picture, and ``result.json``."""
    points = [point(found) for found in results]
    first, method = results[0], checked.method
    title = f"{first['model']['dataset']}, {first['model']['arch']}: {job.words}; unlearned by {method.name}"
    files.write_text(folder.path / "backdoor.md", f"{title}\n\n{tables.markdown(*table(points))}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(long_rows(points))
    files.write_text(folder.path / "backdoor.csv", text.getvalue())
    share = float((job.bench.sets["test"].labels == job.poison.target).double().mean())
    plots.backdoor_curve(folder.path / "backdoor.png", points, title, method.paper, share)
    folder.finish(
        {
            "label": folder.label, "script": "main_backdoor.py", "status": "done", "method": method.name, "points": points,
            "units": first["units"], "poison": first["poison"], "split": first["split"], "config": checked.config,
            "device": first["device"], "environment": environment(),
        }
    )


def show(points: list[dict[str, Any]], log: Log) -> None:
    """Print the table."""
    log.line()
    log.line(tables.aligned(*table(points)))
