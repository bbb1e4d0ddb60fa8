#!/usr/bin/env python3
"""Remove source classes from a trained classifier, then carry it over to a target data set: accuracy and time of both.

    python main_transfer.py --mask runs/omp95/1model_SA_best.pth.tar --target data/pets --removed 0,1,3 --save_dir runs/pets
    python main_transfer.py --mask runs/omp95/1model_SA_best.pth.tar --target data/pets --removed 0,1,3 --unlearn retrain \\
        --save_dir runs/pets-retrain
    python main_report.py runs

The first unlearns 0, 1 and 3 classes by l1-sparse and fits a new head to each model's frozen features,
the second trains anew without these classes, which is what the first should come close to in less
time, the third puts both into one table (Jia et al. 2023, improving transfer learning by unlearning).
A killed run goes on from its last epoch when the same command is given again.
"""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import arg_parser
from utils.errors import UsageError, leave, renamed, script


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_transfer(argv)
    checked = check(arguments)
    if arguments.run.dry_run:
        print(json.dumps(checked.config, indent=1, default=str))
        return 0
    from utils.log import Log
    from utils.run_folder import RunFolder, environment, fingerprint

    folder = RunFolder(Path(arguments.run.save_dir), "transfer", fingerprint(checked.config), ["transfer.md", "transfer.csv", "transfer.png"])
    log = Log(folder.path)
    if folder.result() is None:
        folder.begin("main_transfer.py", argv)
        bench = read_data(arguments, checked)
        log.facts(f"main_transfer.py: {checked.method.name}, {checked.method.summary}", header(arguments, checked, bench, folder.path))
        points = [measure(arguments, checked, bench, count, argv) for count in checked.removed]
        for found in points:
            log.record("point", **{key: found[key] for key in ("removed", "accuracy", "seconds")})
        log.line()
        show(points, folder.path)
        folder.finish(
            {
                "label": folder.label, "script": "main_transfer.py", "status": "done", "method": checked.method.name,
                "removal_order": checked.config["removal_order"], "points": points, "config": checked.config,
                "device": str(checked.device), "environment": environment(),
            }
        )
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
        log.line()
        show(folder.result()["points"], folder.path)
    return 0


@dataclass(frozen=True)
class Checked:
    """What was found right before any image is read.

    Attributes:
        only: the weights that unlearning may change, if a file names them.
        order: source classes by number, the first to be removed first.
        removed: how many of them, ascending; a model for each.
        unlearning: what decides an unlearned model, but for the number of removed classes.
        config: what decides the whole run.
    """

    method: Any
    device: Any
    source: Any
    target: Any
    start: Any
    only: Any
    order: tuple[int, ...]
    removed: tuple[int, ...]
    unlearning: dict[str, Any]
    config: dict[str, Any]

    def unlearn_config(self, count: int) -> dict[str, Any]:
        """What decides the model without the first ``count`` classes, whichever came first."""
        return self.unlearning | {"removed_classes": sorted(self.order[:count])}

    def point_config(self, count: int) -> dict[str, Any]:
        """What decides every number after ``count`` classes are removed."""
        return self.unlearn_config(count) | {key: self.config[key] for key in ("probe", "target")}


@dataclass(frozen=True)
class Bench:
    """Source and target in memory, the source's split, and views on its images."""

    data: Any
    base: Any
    views: Any
    target_data: Any
    target: Any


@dataclass(frozen=True)
class Point:
    """One number of removed classes: where its files go, and the source without these classes.

    Attributes:
        stamp: names the unlearned model, whatever its target.
        stored: the checkpoint of that model if an earlier run left it, or None.
        sets: "retain", "forget", "val" and "test" of the source.
    """

    count: int
    folder: Any
    log: Any
    stamp: str
    stored: Any
    split: Any
    sets: dict[str, Any]


def check(arguments: arg_parser.TransferArguments) -> Checked:
    """Refuse what can be refused without reading data: device, data sets, classes to remove, architecture, checkpoint."""
    import models
    from dataset import prepare
    from unlearn import registry, saliency, start
    from utils.device import resolve

    method = registry.get(arguments.unlearn.unlearn)
    device = resolve(arguments.run.device, arguments.run.gpu, arguments.run.deterministic)
    models.check(arguments.model.arch, arguments.model.imagenet_arch)
    source = prepare.choose(arguments.data.dataset, arguments.data.data, arguments.data.input_size, arguments.data.stream)
    with renamed({"--dataset": "--target_dataset", "--data": "--target"}):
        target = prepare.choose(arguments.transfer.target_dataset or "folder", arguments.transfer.target, source.side, arguments.data.stream)
    start.check_validation(method, source, arguments.data.dataset)
    order, removed = removal_order(arguments, source.names), tuple(sorted(arguments.transfer.removed))
    beginning = start.read(arguments, method, source)
    if removed[0] == 0 and not beginning.given.weights:
        raise UsageError(f"--mask {beginning.given.path}: holds masks but no weights; --removed 0 needs the model itself")
    only, digest = saliency.given(arguments, source)
    config = arg_parser.deciding(arguments) | {"method": method.name, "official_counts": source.official, **beginning.digests}
    config |= {"saliency": digest} if digest else {}
    unlearning = {key: value for key, value in config.items() if key not in ("transfer", "probe", "order")}
    own = {
        "removed": removed, "removal_order": order[: removed[-1]], "probe": asdict(arguments.probe),
        "target": {"dataset": target.source.name, "folder": str(target.root), "classes": target.names, "counts": target.official},
    }
    return Checked(method, device, source, target, beginning, only, order, removed, unlearning, unlearning | own)


def removal_order(arguments: arg_parser.TransferArguments, names: tuple[str, ...]) -> tuple[int, ...]:
    """Source classes by number, the first to be removed first: as typed, or all of them as drawn from ``--seed``.

    Raises:
        UsageError: an unknown class, or more classes to remove than there are or than were named.
    """
    import torch

    from dataset.scenario import numbers
    from utils import seeds

    most = max(arguments.transfer.removed)
    if most >= len(names):
        raise UsageError(f"--removed {most}: the source has {len(names)} classes, of which one must remain")
    if arguments.order is None:
        return tuple(torch.randperm(len(names), generator=seeds.generator(arguments.run.seed, "removal order")).tolist())
    order = numbers(arguments.order, names, "--removal_order")
    if len(order) < most:
        raise UsageError(f"--removal_order {arguments.transfer.removal_order}: names {len(order)}, too few for --removed {most}")
    return order


def read_data(arguments: arg_parser.TransferArguments, checked: Checked) -> Bench:
    """Load the source and the target, whose images become as large as the source's, and check the source's split."""
    import numpy as np

    from dataset import prepare
    from trainer.probe import Target
    from unlearn import start

    run = arguments.run
    data = checked.source.load()
    with renamed({"--data": "--target"}):
        target = checked.target.load()
    base = prepare.base_split(data, run.seed, run.split_seed, run.compat)
    start.check_split(checked.start.given, base, arguments.unlearn.allow_split_mismatch)
    views = prepare.Views(target, checked.device, arguments.data.workers, run.compat)
    everything = Target(len(target.classes), views.train(np.arange(len(target.train_labels))), views.test())
    return Bench(data, base, prepare.Views(data, checked.device, arguments.data.workers, run.compat), target, everything)


def measure(arguments: arg_parser.TransferArguments, checked: Checked, bench: Bench, count: int, argv: list[str] | None) -> dict[str, Any]:
    """The result for one number of removed classes: unlearned, scored, probed; or found finished."""
    from utils.log import Log
    from utils.run_folder import RunFolder, fingerprint

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
        with folder.failing(facts(arguments, checked, bench, point)):
            unlearned = unlearn(arguments, checked, bench, point)
            probed = probe(arguments, checked, bench, point, unlearned)
            finish(arguments, checked, bench, point, unlearned, probed)
    else:
        log.line(f"removed {count}: done already: {path / 'result.json'}")
    return folder.result()


def find(path: Path, stamp: str) -> Any:
    """The unlearned model with this stamp, if an earlier run left it; None if not."""
    from utils import checkpoints

    if not path.exists():
        return None
    found = checkpoints.read(path, "--save_dir")
    return found if found.extra.get("fingerprint") == stamp else None


def divide(arguments: arg_parser.TransferArguments, checked: Checked, bench: Bench, count: int) -> tuple[Any, dict[str, Any]]:
    """The source without its first ``count`` classes: the split, and the image sets."""
    import numpy as np

    from dataset import prepare
    from dataset.split import Split, split_for_unlearning

    run, data, base, views = arguments.run, bench.data, bench.base, bench.views
    if count:
        marked = prepare.marked_split(data, run.seed, base, run.compat)
        split = split_for_unlearning(data.train_labels, data.test_labels, base, marked, scenario(checked, count), run.seed)
    else:
        nothing = np.empty(0, dtype=np.int64)
        split = Split(base.train, nothing, base.val, np.arange(len(data.test_labels)), (), base.digest)
    sets = {
        "retain": views.train(split.retain), "forget": views.train(split.forget),
        "val": views.val(split.val), "test": views.test(split.test),
    }
    return split, sets


def scenario(checked: Checked, count: int) -> Any:
    """What forgets the first ``count`` classes whole."""
    from dataset.scenario import Scenario

    return Scenario(tuple(sorted(checked.order[:count]))).resolve(checked.source.train_counts)


def unlearn(arguments: arg_parser.TransferArguments, checked: Checked, bench: Bench, point: Point) -> Any:
    """The model without the classes, its mask and the method's seconds: written, or found; the given one if none is removed."""
    from unlearn import start
    from unlearn.apply import Unlearned, apply
    from unlearn.context import Context, Progress
    from utils import checkpoints

    name, run = checked.method.name, arguments.run
    progress = Progress(point.folder.path / f"{name}progress.pth.tar", point.stamp)
    if point.stored is not None:
        progress.remove()
        point.log.line(f"Load checkpoint from: {point.stored.path}")
        return Unlearned(start.build(arguments, checked.source, bench.data, point.stored).to(checked.device), point.stored.mask, point.stored.extra["seconds"])
    if point.count:
        model = start.build(arguments, checked.source, bench.data, checked.start.weights).to(checked.device)
        context = Context(
            checked.start.mask, checked.device, run.seed, run.compat, bench.data.name, len(bench.data.classes),
            scenario(checked, point.count), point.split.whole_classes, point.log, progress, checked.only,
        )
        unlearned = apply(checked.method, model, point.sets, arguments.hyper, context)
    else:
        unlearned = Unlearned(start.build(arguments, checked.source, bench.data, checked.start.given).to(checked.device), checked.start.mask, 0.0)
    extra = {
        "fingerprint": point.stamp, "split_digest": point.split.base_digest, "split_seed": bench.base.seed,
        "forget_digest": point.split.digest, "seconds": unlearned.seconds,
    }
    content = checkpoints.unlearned_checkpoint(unlearned.model, unlearned.mask, None, extra)
    checkpoints.write(content, point.folder.path / f"{name}checkpoint.pth.tar")
    progress.remove()
    return unlearned


def probe(arguments: arg_parser.TransferArguments, checked: Checked, bench: Bench, point: Point, unlearned: Any) -> Any:
    """The model for the target, written, with its accuracy and seconds."""
    from trainer import probe as probes
    from unlearn.context import Progress
    from utils import checkpoints

    flags, name, folder = arguments.probe, checked.method.name, point.folder
    progress = Progress(folder.path / f"{name}targetprogress.pth.tar", folder.fingerprint)
    if flags.probe == "linear":
        probed = probes.linear(unlearned.model, unlearned.mask, bench.target, flags.probe_l2, point.log)
    else:
        probed = probes.full(unlearned.model, unlearned.mask, bench.target, flags, arguments.run.train_seed, point.log, progress)
    content = {
        "state_dict": checkpoints.pack(probed.model, probed.mask), "classes": list(bench.target_data.classes),
        "accuracy": probed.accuracy, "fingerprint": folder.fingerprint,
    }
    checkpoints.write(content, folder.path / f"{name}target.pth.tar")
    progress.remove()
    return probed


def finish(arguments: arg_parser.TransferArguments, checked: Checked, bench: Bench, point: Point, unlearned: Any, probed: Any) -> None:
    """Score the unlearned model on the source and write ``result.json``."""
    import pruner
    from evaluation.predict import predict

    outputs = predict(unlearned.model, {key: point.sets[key] for key in ("test", "forget") if len(point.sets[key])})
    accuracy = {
        "source": outputs["test"].accuracy, "forget": outputs["forget"].accuracy if point.count else None, "target": probed.accuracy,
    }
    seconds, known = {"unlearning": unlearned.seconds, "probing": probed.seconds}, facts(arguments, checked, bench, point)
    point.log.line("  ".join(f"{key} {100 * value:.2f} %" for key, value in accuracy.items() if value is not None))
    point.log.record("scores", accuracy=accuracy, seconds=seconds)
    point.folder.finish(
        {
            **known, "status": "done", "model": {**known["model"], "sparsity_after": pruner.sparsity(unlearned.mask)},
            "accuracy": accuracy, "seconds": seconds, "units": "fractions in [0, 1]; seconds",
        }
    )


def facts(arguments: arg_parser.TransferArguments, checked: Checked, bench: Bench, point: Point) -> dict[str, Any]:
    """What ``result.json`` holds however the run ends."""
    import pruner
    from utils.run_folder import environment

    classes = list(checked.order[: point.count])
    return {
        "label": point.folder.label, "script": "main_transfer.py", "method": checked.method.name, "paper_name": checked.method.paper,
        "compat": arguments.run.compat, "seed": arguments.run.seed,
        "removed": {"count": point.count, "classes": classes, "names": [bench.data.classes[label] for label in classes]},
        "split": {
            "digest": point.split.digest, "base_digest": point.split.base_digest, **{key: len(images) for key, images in point.sets.items()},
        },
        "target": {
            "name": target_name(checked), "classes": bench.target.classes, "train": len(bench.target.train), "test": len(bench.target.test),
        },
        "model": {
            "arch": arguments.model.arch, "dataset": bench.data.name, "sparsity": pruner.sparsity(checked.start.mask),
            "checkpoint": arguments.unlearn.mask,
        },
        "config": checked.point_config(point.count), "device": str(checked.device), "environment": environment(),
    }


def target_name(checked: Checked) -> str:
    """A data set's name, or that of its folder."""
    source = checked.target.source
    return checked.target.root.resolve().name if source.name == "folder" else source.name


def listed(classes: tuple[int, ...], names: tuple[str, ...]) -> str:
    """Classes by number and name."""
    return ", ".join(f"{label} ({names[label]})" for label in classes)


def show(points: list[dict[str, Any]], folder: Path) -> None:
    """Print the table and write it as transfer.md, transfer.csv and transfer.png."""
    from evaluation import plots, transfer
    from evaluation.publish import publish

    [table] = transfer.tables(points)
    publish(folder / "transfer", table.title, *transfer.layout(table), transfer.long_rows(table), partial(plots.transfer_curves, table=table))


def header(arguments: arg_parser.TransferArguments, checked: Checked, bench: Bench, folder: Path) -> dict[str, str]:
    """What is removed from which model, and where it is carried, with which numbers."""
    import pruner

    data, target = bench.data, bench.target
    found = {
        "remove": f"{', '.join(map(str, checked.removed))} of {len(data.classes)} classes, in this order: "
                  + (listed(checked.order[: checked.removed[-1]], data.classes) or "none"),
        "source": f"{data.name}: train {len(bench.base.train):,}  test {len(data.test_labels):,}  split digest {bench.base.digest}",
        "target": f"{target_name(checked)}: {target.classes} classes, train {len(target.train):,}  test {len(target.test):,}",
        "model": f"{arguments.model.arch}, * remain weight ratio = {100 * pruner.density(checked.start.mask):.2f} %, {arguments.unlearn.mask}",
        "method": arg_parser.settings(arguments.hyper) or "no hyper-parameters",
        "probe": arg_parser.settings(arguments.probe),
        "run": f"setup random seed = {arguments.run.seed}  compat {arguments.run.compat}  device {checked.device}",
        "folder": str(folder),
    }
    if arguments.unread:
        found["not read"] = f"{', '.join(arguments.unread)}: nothing that {checked.method.name}, --probe {arguments.probe.probe} or this script uses"
    return found


if __name__ == "__main__":
    leave(main())
