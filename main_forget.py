#!/usr/bin/env python3
"""Make a trained classifier forget images, then score it: UA, RA, TA, MIA-Efficacy, RTE.

    python main_forget.py --mask runs/omp95/1model_SA_best.pth.tar --unlearn FT --save_dir runs/FT
    python main_forget.py --mask runs/omp95/1model_SA_best.pth.tar --unlearn retrain --forget class:3 --save_dir runs/retrain
    python main_forget.py --mask runs/omp95/0model_SA_best.pth.tar --unlearn GA --forget random:0.1 --save_dir runs/GA

The first two fill class-wise, 95 %-sparse rows of the paper's Table 1, the third a dense row of
random data forgetting. The mask of the checkpoint is held throughout.
A killed run goes on from its last epoch when the same command is given again.
"""
from __future__ import annotations

import importlib
import json
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arg_parser
from utils.errors import UsageError, leave, script


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_forget(argv)
    checked = check(arguments)
    if arguments.run.dry_run:
        print(json.dumps(checked.config, indent=1, default=str))
        return 0
    folder, log = open_folder(arguments, checked)
    if folder.result() is None:
        folder.begin("main_forget.py", argv)
        job = read_data(arguments, checked)
        log.facts(f"main_forget.py: {checked.method.name}, {checked.method.summary}", header(arguments, checked, job, folder.path))
        unlearned, progress = unlearn(arguments, checked, job, folder, log)
        score(arguments, checked, job, folder, log, unlearned)
        progress.remove()
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    show(folder.result(), log)
    return 0


@dataclass(frozen=True)
class Checked:
    """What was found right before any image is read.

    ``start`` holds the weights to begin with; None for new ones.
    """

    method: Any
    device: Any
    chosen: Any
    scenario: Any
    checkpoint: Any
    start: Any
    config: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Data, split and image sets of the run, and the model before unlearning."""

    data: Any
    split: Any
    sets: dict[str, Any]
    model: Any
    mask: dict[str, Any]


def check(arguments: arg_parser.ForgetArguments) -> Checked:
    """Refuse what can be refused without reading data: device, data set, what to forget, architecture, checkpoint."""
    import models
    from dataset import prepare
    from unlearn import registry
    from utils import checkpoints
    from utils.device import resolve

    method = registry.get(arguments.unlearn.unlearn)
    device = resolve(arguments.run.device, arguments.run.gpu)
    arch, stem = arguments.model.arch, arguments.model.imagenet_arch
    models.check(arch, stem)
    chosen = prepare.choose(arguments.data.dataset, arguments.data.data, arguments.data.input_size)
    if method.trains_on_val and not chosen.source.with_validation:
        raise UsageError(
            f"--unlearn {method.name}: trains on validation images, and --dataset {arguments.data.dataset} has none but the test images, "
            "which attacks take for never seen; give a data set with a validation part"
        )
    scenario = arguments.scenario.resolve(chosen.train_counts)
    checkpoint = rewound = None
    blank = models.blank(arch, chosen.classes, chosen.side, stem)
    if arguments.unlearn.mask is not None:
        checkpoint = checkpoints.read(Path(arguments.unlearn.mask), "--mask", arguments.run.allow_pickle)
        checkpoints.check_fits(checkpoint, blank, arch, "--mask", masks_alone=method.fresh)
    if getattr(arguments.hyper, "rewind_pth", None) is not None:
        rewound = checkpoints.read(Path(arguments.hyper.rewind_pth), "--rewind_pth", arguments.run.allow_pickle)
        checkpoints.check_fits(rewound, blank, arch, "--rewind_pth")
    config = arg_parser.deciding(arguments) | {
        "method": method.name, "scenario": scenario.facts(), "official_counts": chosen.official,
        "checkpoint": checkpoint and checkpoint.sha256, "rewind": rewound and rewound.sha256,
    }
    return Checked(method, device, chosen, scenario, checkpoint, rewound or (None if method.fresh else checkpoint), config)


def open_folder(arguments: arg_parser.ForgetArguments, checked: Checked) -> tuple[Any, Any]:
    """The run's folder, cleared of other runs' files of the same names, and its log."""
    from utils.log import Log
    from utils.run_folder import RunFolder, fingerprint

    name = checked.method.name
    outputs = [f"{name}checkpoint.pth.tar", f"{name}eval_result.pth.tar", f"{name}progress.pth.tar"]
    folder = RunFolder(Path(arguments.run.save_dir), name, fingerprint(checked.config), outputs, keep=arguments.unlearn.resume)
    return folder, Log(folder.path)


def read_data(arguments: arg_parser.ForgetArguments, checked: Checked) -> Job:
    """Load images, divide them, check them against the checkpoint's split, and build the model."""
    import models
    from dataset import prepare, sources
    from dataset.split import split_for_unlearning
    from utils import checkpoints, seeds

    run = arguments.run
    data = sources.load(checked.chosen.source, checked.chosen.root, checked.chosen.size)
    base = prepare.base_split(data, run.seed, run.split_seed, run.compat)
    marked = prepare.marked_split(data, run.seed, base, run.compat)
    split = split_for_unlearning(data.train_labels, data.test_labels, base, marked, checked.scenario, run.seed)
    check_split(arguments, checked.checkpoint, base)
    views = prepare.Views(data, checked.device)
    sets = {
        "retain": views.train(split.retain), "forget": views.train(split.forget),
        "val": views.val(split.val), "test": views.test(split.test),
    }
    seeds.seed_everything(run.train_seed)
    size = data.train_images.shape[1]
    model = models.build(arguments.model.arch, len(data.classes), data.mean, data.std, arguments.model.imagenet_arch, size, run.compat)
    if checked.start is not None:
        checkpoints.load_weights(model, checked.start)
    mask = checked.checkpoint.mask if checked.checkpoint is not None else {}
    return Job(data, split, sets, model.to(checked.device), mask)


def check_split(arguments: arg_parser.ForgetArguments, checkpoint: Any, base: Any) -> None:
    """Refuse a model that was trained on other images than this run takes for its training set."""
    if checkpoint is None:
        return
    trained_on = checkpoint.extra.get("split_digest")
    if trained_on is None:
        print(f"warning: {checkpoint.path} does not say on which split it was trained", file=sys.stderr)
    elif trained_on != base.digest and not arguments.unlearn.allow_split_mismatch:
        seed = checkpoint.extra.get("split_seed")
        raise UsageError(
            f"--mask {checkpoint.path}: was trained on split {trained_on} (seed {seed}), this run divides the data into "
            f"{base.digest} (seed {base.seed}); give --split_seed {seed}, or --allow_split_mismatch"
        )


def unlearn(arguments: arg_parser.ForgetArguments, checked: Checked, job: Job, folder: Any, log: Any) -> tuple[Any, Any]:
    """The unlearned model with its mask and the method's seconds (None if it was not run here), and its progress file."""
    from unlearn.apply import Unlearned, apply
    from unlearn.context import Context, Progress
    from utils import checkpoints

    target = folder.path / f"{checked.method.name}checkpoint.pth.tar"
    progress = Progress(folder.path / f"{checked.method.name}progress.pth.tar", folder.fingerprint)
    done = progress.state is not None and progress.state["phase"] == "done"
    if (done or arguments.unlearn.resume) and target.exists():
        stored = checkpoints.read(target, "--resume", arguments.run.allow_pickle)
        checkpoints.check_fits(stored, job.model, arguments.model.arch, "--resume")
        checkpoints.load_weights(job.model, stored)
        log.line(f"Load checkpoint from: {target}")
        return Unlearned(job.model, stored.mask, progress.state["seconds"] if done else None), progress
    context = Context(
        job.mask, checked.device, arguments.run.seed, arguments.run.compat, job.data.name, len(job.data.classes),
        checked.scenario, job.split.whole_classes, log, progress,
    )
    unlearned = apply(checked.method, job.model, job.sets, arguments.hyper, context)
    save(unlearned, None, checked, job, folder)
    progress.save(phase="done", seconds=unlearned.seconds)
    return unlearned, progress


def save(unlearned: Any, evaluation: dict[str, Any] | None, checked: Checked, job: Job, folder: Any) -> None:
    """Write the unlearned model and its evaluation under the reference's names."""
    from utils import checkpoints

    stamp = {"fingerprint": folder.fingerprint, "split_digest": job.split.base_digest, "forget_digest": job.split.digest}
    content = checkpoints.unlearned_checkpoint(unlearned.model, unlearned.mask, evaluation, stamp)
    checkpoints.write(content, folder.path / f"{checked.method.name}checkpoint.pth.tar")
    checkpoints.write(evaluation or {}, folder.path / f"{checked.method.name}eval_result.pth.tar")


def score(arguments: Any, checked: Checked, job: Job, folder: Any, log: Any, unlearned: Any) -> None:
    """Run the model once over every set, derive all scores, and write them; ``result.json`` comes last."""
    import pruner
    from evaluation import report
    from evaluation.predict import predict
    from utils.run_folder import environment

    threading.Thread(target=importlib.import_module, args=["sklearn.svm"]).start()  # a second, beside reading data
    outputs = predict(unlearned.model, job.sets)
    scores = report.score(outputs, arguments.run.compat, checked.method.trains_on_val)
    save(unlearned, report.reference_result(scores), checked, job, folder)
    log.record("scores", **scores)
    sizes = {name: len(images) for name, images in job.sets.items()}
    folder.finish(
        {
            "label": checked.method.name, "script": "main_forget.py", "status": "done", "method": checked.method.name,
            "paper_name": checked.method.paper, "compat": arguments.run.compat, "seed": arguments.run.seed,
            "scores": report.paper_scores(scores, unlearned.seconds), "units": "fractions in [0, 1]; RTE in minutes",
            **scores, "seconds": {"unlearning": unlearned.seconds},
            "scenario": {"kind": kind(checked, job), "words": words(checked, job), **checked.scenario.facts()},
            "split": {"digest": job.split.digest, "base_digest": job.split.base_digest, **sizes},
            "model": {
                "arch": arguments.model.arch, "dataset": job.data.name, "sparsity": pruner.sparsity(job.mask),
                "sparsity_after": pruner.sparsity(unlearned.mask), "parameters": sum(p.numel() for p in unlearned.model.parameters()),
                "checkpoint": arguments.unlearn.mask,
            },
            "config": checked.config, "device": str(checked.device), "environment": environment(),
        }
    )


def show(result: dict[str, Any], log: Any) -> None:
    """Print all scores, the paper's five last."""
    from evaluation import report

    log.line()
    for line in report.lines(result["method"], result, result["scores"]):
        log.line(line)


def kind(checked: Checked, job: Job) -> str:
    """The scenario's name in tables."""
    return checked.scenario.kind(len(job.split.whole_classes))


def words(checked: Checked, job: Job) -> str:
    """What is forgotten, in words."""
    labels = checked.scenario.labels
    size = None if labels is None else sum(checked.chosen.train_counts[label] for label in labels)
    forgotten = len(job.split.forget)
    return checked.scenario.words(forgotten, forgotten + len(job.split.retain), size, job.data.classes)


def header(arguments: Any, checked: Checked, job: Job, folder: Path) -> dict[str, str]:
    """What is forgotten, from which model, with which numbers."""
    import pruner

    sizes = "  ".join(f"{name} {len(images):,}" for name, images in job.sets.items())
    gone = ", ".join(map(str, job.split.whole_classes))
    left_out = f" (class {gone} left out of test)" if gone else ""
    origin = f"new weights, mask of {arguments.unlearn.mask}" if checked.method.fresh else str(arguments.unlearn.mask)
    facts = {
        "forget": words(checked, job),
        "data": f"{job.data.name}: {sizes}{left_out}",
        "split": f"base digest {job.split.base_digest}, with forget and retain {job.split.digest}",
        "model": f"{arguments.model.arch}, * remain weight ratio = {100 * pruner.density(job.mask):.2f} %, {origin}",
        "method": arg_parser.settings(arguments.hyper) or "no hyper-parameters",
        "run": f"setup random seed = {arguments.run.seed}  compat {arguments.run.compat}  device {checked.device}",
        "folder": str(folder),
    }
    if arguments.unread:
        facts["not read"] = f"{', '.join(arguments.unread)}: nothing that {checked.method.name} or this script uses"
    return facts


if __name__ == "__main__":
    leave(main())
