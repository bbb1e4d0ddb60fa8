"""What ``main_backdoor.py`` says, draws and tables of a cleanse, or of several at increasing sparsity."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from arg_parser import BackdoorArguments, settings, steps
from backdoor.job import Checked, Job
from evaluation import plots, tables
from evaluation.backdoor import COLUMNS, long_rows, table
from evaluation.predict import Predictions
from evaluation.verdict import knobs
from trainer.given import provenance
from unlearn.session import outputs
from utils import files, preview
from utils.log import Log
from utils.run_folder import RunFolder, environment

CURVE = ["backdoor.md", "backdoor.csv", "backdoor.png"]
WORKS = 0.3  # attack success from which a trigger can be said to work
EXAMPLES = 8  # images in trigger.png, each of another class


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


def said(scores: dict[str, float | None]) -> str:
    """Scores on one line, in per cent."""
    return "  ".join(f"{title} {tables.percent(scores[name])} %" for name, title in COLUMNS.items())


def picture(path: Path, job: Job, outputs: dict[str, dict[str, Predictions]], method: str) -> None:
    """Some test images, clean and with the trigger, and what the model takes them for before and after."""
    data, poison = job.bench.data, job.poison
    labels = [
        label for label in range(len(data.classes)) if label != poison.target and (data.test_labels == label).any()
    ][:EXAMPLES]
    chosen = [int((data.test_labels == label).argmax()) for label in labels]
    if not chosen:
        return
    clean = data.test_images[chosen]
    stamped, window = poison.trigger.stamp(clean), poison.trigger.window(*clean.shape[1:3])
    rows = {}
    for row, name, images in (("clean", "test", clean), ("triggered", "triggered", stamped)):
        said = {
            when: [data.classes[outputs[when][name].logits[position].argmax()] for position in chosen]
            for when in outputs
        }
        rows[row] = [
            (image, f"{data.classes[label]}\nbefore: {before}\nafter: {after}")
            for image, label, before, after in zip(images, labels, said["before"], said["after"])
        ]
    pairs = list(zip(clean, stamped))
    rows["without | with"] = [(_enlarged(one, other, window), _changed(one, other)) for one, other in pairs]
    target = data.classes[poison.target]
    title = (
        f"test images, clean and triggered (framed; target {target}), and the model's answer before and after {method}; "
        "below, the frame's surroundings"
    )
    plots.trigger_examples(path, rows, title, ("triggered", window))


def _enlarged(clean: np.ndarray, stamped: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """The trigger's place and two pixels around it, clean, a white column, and stamped (uint8 [h, 2 w + 1, C])."""
    down, across = (slice(max(0, part.start - 2), part.stop + 2) for part in window)
    one, other = clean[down, across], stamped[down, across]
    return np.concatenate([one, np.full_like(one[:, :1], 255), other], axis=1)


def _changed(clean: np.ndarray, stamped: np.ndarray) -> str:
    changed = int((clean != stamped).any(-1).sum())
    return f"changes {changed} pixel{'s' * (changed > 1)}" if changed else "changes nothing"


def point(found: dict[str, Any]) -> dict[str, Any]:
    """A finished cleanse as a row of a table."""
    scores = found["scores"]
    return {
        "sparsity": found["model"]["sparsity"],
        "before": scores["before"],
        "after": scores["after"],
        "RTE": scores["RTE"],
    }


def verdict(found: dict[str, Any]) -> str:
    """What the attack success of a finished cleanse says, in one sentence."""
    before, after = (found["scores"][when]["ASR"] for when in ("before", "after"))
    moved = f"ASR {tables.percent(before)} -> {tables.percent(after)} %"
    if before < WORKS:
        return f"the trigger never worked ({moved}): there is nothing to cleanse; poison more images or enlarge --trigger_size"
    if after > before / 2:
        return f"the trigger still works ({moved}); {knobs('raise', found['config'].get('hyper', {}))}"
    return f"the trigger works on less than half as many images ({moved})"


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
            "label": folder.label,
            "script": "main_backdoor.py",
            "status": "done",
            "method": method.name,
            "points": points,
            "units": first["units"],
            "poison": first["poison"],
            "split": first["split"],
            "config": checked.config,
            "device": first["device"],
            "environment": environment(),
        }
    )


def show(points: list[dict[str, Any]], log: Log) -> None:
    """Print the table."""
    log.line()
    log.line(tables.aligned(*table(points)))
