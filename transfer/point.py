"""One number of removed classes: the source unlearned or found, scored, and carried over to the target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import pruner
from arg_parser import TransferArguments
from dataset import split_file
from dataset.images import Images
from dataset.scenario import Scenario
from dataset.split import Split, split_for_unlearning
from evaluation.predict import predict
from trainer import pretrain
from trainer import probe as probes
from transfer.job import Bench, Checked, listed, target_name
from unlearn import start
from unlearn.apply import Unlearned, apply
from unlearn.context import Context, Progress
from utils import checkpoints, origin
from utils.log import Log
from utils.run_folder import RunFolder, environment, fingerprint


@dataclass(frozen=True)
class Point:
    """One number of removed classes: where its files go, and the source without these classes.

    Attributes:
        stamp: names the unlearned model, whatever its target.
        stored: the checkpoint of that model if an earlier run left it, or None.
        sets: "retain", "forget", "val" and "test" of the source.
    """

    count: int
    folder: RunFolder
    log: Log
    stamp: str
    stored: checkpoints.Checkpoint | None
    split: Split
    sets: dict[str, Images]


def measure(
    arguments: TransferArguments, checked: Checked, bench: Bench, count: int, argv: list[str] | None
) -> dict[str, Any]:
    """The result for one number of removed classes: unlearned, scored, probed; or found finished."""
    path, name = Path(arguments.run.save_dir) / f"removed_{count}", checked.method.name
    stamp = fingerprint(checked.unlearn_config(count))
    stored = find(path / f"{name}checkpoint.pth.tar", stamp)
    outputs = [f"{name}target.pth.tar", f"{name}targetprogress.pth.tar"]
    outputs += [f"{name}checkpoint.pth.tar", f"{name}progress.pth.tar"] if stored is None else []
    folder, log = RunFolder(path, f"transfer-{name}", fingerprint(checked.point_config(count)), outputs), Log(path)
    log.line()
    if folder.result() is None:
        folder.begin("main_transfer.py", argv)
        log.line(f"removed {count}: {listed(checked.order[:count], bench.data.classes) or 'the model as it is'}")
        point = Point(count, folder, log, stamp, stored, *divide(arguments, checked, bench, count))
        split_file.write(folder.path, vars(point.split), point.split.digest)
        with folder.failing(facts(arguments, checked, bench, point)):
            unlearned = unlearn(arguments, checked, bench, point)
            probed = probe(arguments, checked, bench, point, unlearned)
            finish(arguments, checked, bench, point, unlearned, probed)
    else:
        log.line(f"removed {count}: done already: {path / 'result.json'}")
    return folder.result()


def find(path: Path, stamp: str) -> checkpoints.Checkpoint | None:
    """The unlearned model with this stamp, if an earlier run left it; None if not."""
    if not path.exists():
        return None
    found = checkpoints.read(path, "--save_dir")
    return found if found.extra.get("fingerprint") == stamp else None


def divide(arguments: TransferArguments, checked: Checked, bench: Bench, count: int) -> tuple[Split, dict[str, Images]]:
    """The source without its first ``count`` classes: the split, and the image sets."""
    run, data, base, views = arguments.run, bench.data, bench.base, bench.views
    if count:
        split = split_for_unlearning(data.train_labels, data.test_labels, base, scenario(checked, count), run.seed)
    else:
        nothing, test = np.empty(0, dtype=np.int64), base.sets(len(data.test_labels))["test"]
        split = Split(base.train, base.train, nothing, base.val, test, (), base.digest)
    return split, views.divided(split)


def scenario(checked: Checked, count: int) -> Scenario:
    """What forgets the first ``count`` classes whole."""
    return Scenario(tuple(sorted(checked.order[:count]))).resolve(checked.source.train_counts)


def unlearn(arguments: TransferArguments, checked: Checked, bench: Bench, point: Point) -> Unlearned:
    """The model without the classes, its mask and the method's seconds: written, or found; the given one if none is removed."""
    name, run = checked.method.name, arguments.run
    progress = Progress(point.folder.path / f"{name}progress.pth.tar", point.stamp)
    if point.stored is not None:
        progress.remove()
        point.log.line(f"Load checkpoint from: {point.stored.path}")
        return Unlearned(
            start.build(arguments, checked.source, bench.data, point.stored).to(checked.device),
            point.stored.mask,
            point.stored.extra["seconds"],
        )
    if point.count:
        model = start.build(arguments, checked.source, bench.data, checked.start.weights).to(checked.device)
        context = Context(
            checked.start.mask,
            checked.device,
            run.seed,
            run.compat,
            bench.data.name,
            len(bench.data.classes),
            scenario(checked, point.count),
            point.split.whole_classes,
            point.log,
            progress,
            checked.only,
        )
        unlearned = apply(checked.method, model, point.sets, arguments.hyper, context)
    else:
        unlearned = Unlearned(
            start.build(arguments, checked.source, bench.data, checked.start.given).to(checked.device),
            checked.start.mask,
            0.0,
        )
    extra = {
        "fingerprint": point.stamp,
        **pretrain.stamp(arguments, checked.source, bench.base),
        "forget_digest": point.split.digest,
        "seconds": unlearned.seconds,
    }
    content = checkpoints.unlearned_checkpoint(unlearned.model, unlearned.mask, None, extra)
    checkpoints.write(content, point.folder.path / f"{name}checkpoint.pth.tar")
    progress.remove()
    return unlearned


def probe(
    arguments: TransferArguments, checked: Checked, bench: Bench, point: Point, unlearned: Unlearned
) -> probes.Probed:
    """The model for the target, written, with its accuracy and seconds."""
    flags, name, folder = arguments.probe, checked.method.name, point.folder
    progress = Progress(folder.path / f"{name}targetprogress.pth.tar", folder.fingerprint)
    if flags.probe == "linear":
        probed = probes.linear(unlearned.model, unlearned.mask, bench.target, flags.probe_l2, point.log)
    else:
        probed = probes.full(
            unlearned.model, unlearned.mask, bench.target, flags, arguments.run.train_seed, point.log, progress
        )
    content = {
        "state_dict": checkpoints.pack(probed.model, probed.mask),
        "classes": list(bench.target_data.classes),
        "accuracy": probed.accuracy,
        "fingerprint": folder.fingerprint,
        "origin": target_origin(arguments, checked),
    }
    checkpoints.write(content, folder.path / f"{name}target.pth.tar")
    progress.remove()
    return probed


def target_origin(arguments: TransferArguments, checked: Checked) -> dict[str, Any]:
    """What the target's model says of its making: the target's classes at the source's side, trained on all its images."""
    data = replace(arguments.data, dataset=checked.target.source.name, input_size=checked.source.side)
    return origin.of(replace(arguments, data=data), checked.target, None)


def finish(
    arguments: TransferArguments,
    checked: Checked,
    bench: Bench,
    point: Point,
    unlearned: Unlearned,
    probed: probes.Probed,
) -> None:
    """Score the unlearned model on the source and write ``result.json``."""
    outputs = predict(unlearned.model, {key: point.sets[key] for key in ("test", "forget") if len(point.sets[key])})
    accuracy = {
        "source": outputs["test"].accuracy,
        "forget": outputs["forget"].accuracy if point.count else None,
        "target": probed.accuracy,
    }
    seconds, known = (
        {"unlearning": unlearned.seconds, "probing": probed.seconds},
        facts(arguments, checked, bench, point),
    )
    point.log.line("  ".join(f"{key} {100 * value:.2f} %" for key, value in accuracy.items() if value is not None))
    point.log.record("scores", accuracy=accuracy, seconds=seconds)
    point.folder.finish(
        {
            **known,
            "status": "done",
            "model": {**known["model"], "sparsity_after": pruner.sparsity(unlearned.mask)},
            "accuracy": accuracy,
            "seconds": seconds,
            "units": "fractions in [0, 1]; seconds",
        }
    )


def facts(arguments: TransferArguments, checked: Checked, bench: Bench, point: Point) -> dict[str, Any]:
    """What ``result.json`` holds however the run ends."""
    classes = list(checked.order[: point.count])
    return {
        "label": point.folder.label,
        "script": "main_transfer.py",
        "method": checked.method.name,
        "paper_name": checked.method.paper,
        "compat": arguments.run.compat,
        "seed": arguments.run.seed,
        "removed": {
            "count": point.count,
            "classes": classes,
            "names": [bench.data.classes[label] for label in classes],
        },
        "split": {
            "digest": point.split.digest,
            "base_digest": point.split.base_digest,
            **{key: len(images) for key, images in point.sets.items()},
        },
        "target": {
            "name": target_name(checked),
            "classes": bench.target.classes,
            "train": len(bench.target.train),
            "test": len(bench.target.test),
        },
        "model": {
            "arch": arguments.model.arch,
            "dataset": bench.data.name,
            "sparsity": pruner.sparsity(checked.start.mask),
            "checkpoint": arguments.unlearn.mask,
        },
        "config": checked.point_config(point.count),
        "device": str(checked.device),
        "environment": environment(),
    }
