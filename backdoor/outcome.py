"""What ``main_backdoor.py`` says, draws and tables of a cleanse, or of several at increasing sparsity."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from backdoor.problem import PoisonedProblem
from backdoor.setup import CleanseSetup, CurveSetup
from evaluation import plots, tables
from evaluation.backdoor import COLUMNS, long_rows, table
from evaluation.predict import Predictions
from evaluation.verdict import knobs
from trainer import messages
from utils import files
from utils.log import Log

WORKS = 0.3  # attack success from which a trigger can be said to work
EXAMPLES = 8  # images in trigger.png, each of another class


def preview(setup: CleanseSetup) -> dict[str, str]:
    """What ``--dry_run`` says: what would be read, poisoned, trained and unlearned."""
    poisoned, target = messages.images(setup.dataset, setup.scenario), setup.target
    return {
        "read": messages.data(setup.dataset),
        "poison": f"{poisoned} get a {setup.trigger.words} and label {target} ({setup.dataset.names[target]})",
        **origin(setup),
        **({"training": messages.steps(setup.train)} if setup.checkpoint is None else {}),
        "method": messages.steps(setup.hyper),
    }


def origin(setup: CleanseSetup) -> dict[str, str]:
    """Where the poisoned model comes from."""
    if setup.checkpoint is not None:
        return {"model": f"{setup.arch}, from {setup.mask_file}; flags of training and pruning are not read"}
    prune = setup.prune
    how = {"none": "dense", "omp": "OMP", "imp": f"IMP, {prune.pruning_times} rounds", "synflow": "SynFlow"}
    points = [point.prune.rate for point in setup.points] if isinstance(setup, CurveSetup) else []
    rates = points or ([] if prune.prune == "none" else [prune.rate])
    listed = f" at rate {', '.join(f'{rate:g}' for rate in rates)}" if rates else ""
    return {
        "model": f"{setup.arch}, trained here; {how[prune.prune]}{listed}",
        "training": messages.settings(setup.train),
    }


def header(setup: CleanseSetup, problem: PoisonedProblem) -> dict[str, str]:
    """What is poisoned, trained or loaded, and unlearned, with which numbers."""
    data, run, base = problem.data, setup.run, problem.base
    seeds = f"{run.seed}, {run.train_seed} in training"
    return {
        "poison": problem.words,
        "data": f"{data.name}, {len(data.classes)} classes; {messages.sizes(problem.sizes)}",
        **data.notes,
        "split": f"seed {base.seed}, digest {base.digest}, poison {problem.poison.digest}",
        **origin(setup),
        **messages.provenance(setup, setup.checkpoint, setup.rewound),
        "method": messages.settings(setup.hyper) or "no hyper-parameters",
        "run": f"setup random seed = {seeds}  compat {run.compat}  device {setup.device}",
    }


def said(scores: dict[str, float | None]) -> str:
    """Scores on one line, in per cent."""
    return "  ".join(f"{title} {tables.percent(scores[name])} %" for name, title in COLUMNS.items())


def picture(path: Path, problem: PoisonedProblem, outputs: dict[str, dict[str, Predictions]], method: str) -> None:
    """Some test images, clean and with the trigger, and what the model takes them for before and after."""
    data, poison = problem.data, problem.poison
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
        f"test images, clean and triggered (framed; target {target}), and the model's answer before and after "
        f"{method}; "
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
        return f"the trigger never worked ({moved}): there is nothing to cleanse; poison more images or enlarge "
        "--trigger_size"
    if after > before / 2:
        return f"the trigger still works ({moved}); {knobs('raise', found['config'].get('hyper', {}))}"
    return f"the trigger works on less than half as many images ({moved})"


def publish(setup: CurveSetup, problem: PoisonedProblem, first: dict[str, Any], points: list[dict[str, Any]]) -> None:
    """Write the curve as Markdown, CSV and picture.

    Args:
        first: the result of its first sparsity.
    """
    folder, method = setup.folder, setup.method
    title = f"{first['model']['dataset']}, {first['model']['arch']}: {problem.words}; unlearned by {method.name}"
    files.write_text(folder / "backdoor.md", f"{title}\n\n{tables.markdown(*table(points))}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(long_rows(points))
    files.write_text(folder / "backdoor.csv", text.getvalue())
    share = float((problem.sets["test"].labels == problem.poison.target).double().mean())
    plots.backdoor_curve(folder / "backdoor.png", points, title, method.paper, share)


def show(setup: CleanseSetup, result: dict[str, Any], log: Log) -> None:
    """Print the table, and of a single cleanse what it says in a sentence."""
    single = not isinstance(setup, CurveSetup)
    log.line()
    log.line(tables.aligned(*table([point(result)] if single else result["points"])))
    if single:
        log.line(f"\n{verdict(result)}")
