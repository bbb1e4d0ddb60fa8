#!/usr/bin/env python3
"""Train a classifier, then prune it by global magnitude, rewind and train again.

    python main_imp.py --arch resnet18 --epochs 182 --save_dir runs/dense
    python main_imp.py --pruning_times 2 --rate 0.95 --prune_type rewind_lt --rewind_epoch 8 --save_dir runs/omp95
    python main_imp.py --pruning_times 14 --rate 0.2 --prune_type rewind_lt --rewind_epoch 8 --save_dir runs/imp

The first gives the dense rows of the paper's Table 1, the second (OMP) its 95 % rows. Round s leaves
{s}checkpoint.pth.tar and {s}model_SA_best.pth.tar: 0 is dense, each later one pruned once more.
A killed run goes on from its last epoch when the same command is given again.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arg_parser
from evaluation import tables
from utils.errors import leave, script


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_imp(argv)
    checked = check(arguments)
    if arguments.run.dry_run:
        print(json.dumps(checked.config, indent=1, default=str))
        return 0
    folder, log = open_folder(arguments, checked)
    if folder.result() is None:
        folder.begin("main_imp.py", argv)
        train(arguments, checked, folder, log)
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    log.line()
    log.line(tables.rounds(folder.result()["rounds"]))
    return 0


@dataclass(frozen=True)
class Checked:
    """What was found right before any image is read."""

    device: Any
    chosen: Any
    given: Any
    config: dict[str, Any]


def check(arguments: arg_parser.ImpArguments) -> Checked:
    """Refuse what can be refused without reading data: device, data set, architecture, checkpoint."""
    import models
    from dataset import prepare
    from utils import checkpoints
    from utils.device import resolve

    device = resolve(arguments.run.device, arguments.run.gpu)
    models.check(arguments.model.arch, arguments.model.imagenet_arch)
    chosen = prepare.choose(arguments.data.dataset, arguments.data.data, arguments.data.input_size, arguments.data.stream)
    given = None
    if arguments.resume.resume:
        given = checkpoints.read(Path(arguments.resume.checkpoint), "--checkpoint", arguments.run.allow_pickle)
        blank = models.build(arguments.model.arch, chosen.classes, imagenet_stem=arguments.model.imagenet_arch)
        checkpoints.check_fits(given, blank, arguments.model.arch, "--checkpoint")
        checkpoints.training_position(given)
    config = arg_parser.deciding(arguments) | {"official_counts": chosen.official, "checkpoint": given and given.sha256}
    return Checked(device, chosen, given, config)


def open_folder(arguments: arg_parser.ImpArguments, checked: Checked) -> tuple[Any, Any]:
    """The run's folder, cleared of other runs' files of the same names, and its log."""
    from trainer.rounds import OUTPUTS
    from utils.log import Log
    from utils.run_folder import RunFolder, fingerprint

    folder = RunFolder(Path(arguments.run.save_dir), "imp", fingerprint(checked.config), OUTPUTS, keep=checked.given is not None)
    return folder, Log(folder.path)


def train(arguments: arg_parser.ImpArguments, checked: Checked, folder: Any, log: Any) -> None:
    """Read the data, train all rounds, and write ``result.json``."""
    import models
    from dataset import prepare
    from trainer import rounds
    from trainer.loop import recipe
    from utils import seeds
    from utils.run_folder import environment

    run = arguments.run
    data = checked.chosen.load()
    base = prepare.base_split(data, run.seed, run.split_seed, run.compat)
    views = prepare.Views(data, checked.device, arguments.data.workers, run.compat)
    sets = {"train": views.train(base.train), "val": views.val(base.val), "test": views.test()}
    seeds.seed_everything(run.train_seed)
    model = models.build(arguments.model.arch, len(data.classes), data.mean, data.std, arguments.model.imagenet_arch)
    model.to(checked.device)
    facts = {"arch": arguments.model.arch, "dataset": data.name, "classes": len(data.classes), "compat": run.compat}
    stamp = {"fingerprint": folder.fingerprint, "split_digest": base.digest, "split_seed": base.seed, **facts}
    log.facts("main_imp.py: " + describe(arguments.prune), header(arguments, data, sets, base, model, checked.device, folder.path))

    names = rounds.Names(folder.path)
    training = rounds.Rounds(model, recipe(arguments.train, arguments.train.epochs, arguments.train.lr), plan(arguments), sets, names, stamp, log)
    last = rounds.latest(names, arguments.prune.pruning_times, folder.fingerprint) or checked.given
    if last is not None:
        training.resume(last)
        log.line(f"going on from {last.path}: round {training.at.round}, epoch {last.extra['epoch']}")
    summaries = training.run()
    sizes = {name: len(images) for name, images in sets.items()}
    folder.finish(
        {
            "label": "imp", "script": "main_imp.py", "status": "done", "rounds": summaries, "config": checked.config,
            "split": {"digest": base.digest, "seed": base.seed, **sizes},
            "model": {"arch": arguments.model.arch, "parameters": sum(p.numel() for p in model.parameters())},
            "device": str(checked.device), "environment": environment(),
        }
    )


def plan(arguments: arg_parser.ImpArguments) -> Any:
    """The pruning flags as a plan."""
    from trainer.rounds import Plan

    prune = arguments.prune
    return Plan(
        prune.pruning_times, prune.rate, prune.prune_type, prune.rewind_epoch, prune.random_prune,
        seed=arguments.run.train_seed, augmented_validation=arguments.run.compat == "reference",
    )


def describe(prune: Any) -> str:
    """The plan in words."""
    if prune.pruning_times == 1:
        return "dense training"
    how = "at random" if prune.random_prune else "by global magnitude (l1)"
    left = (1 - prune.rate) ** (prune.pruning_times - 1)
    kind = "OMP" if prune.pruning_times == 2 else "IMP"
    return (
        f"{kind}: dense training, then {prune.pruning_times - 1} x prune {100 * prune.rate:g} % of what is left {how} and "
        f"train again; the last round keeps {100 * left:.2f} % of the convolution weights"
    )


def header(arguments: Any, data: Any, sets: Any, base: Any, model: Any, device: Any, folder: Path) -> dict[str, str]:
    """What is trained, on what, with which numbers."""
    target = {"lt": "the initial weights", "pt": "the best dense weights", "rewind_lt": f"those after epoch {arguments.prune.rewind_epoch}"}
    sizes = "  ".join(f"{name} {len(images):,}" for name, images in sets.items())
    facts = {
        "data": f"{data.name}, {len(data.classes)} classes, {data.words}; {sizes}",
        "split": f"seed {base.seed}, digest {base.digest}",
        "model": f"{arguments.model.arch}, {sum(p.numel() for p in model.parameters()):,} parameters",
        "training": arg_parser.settings(arguments.train),
        "run": f"setup random seed = {arguments.run.train_seed}  compat {arguments.run.compat}  device {device}",
        "folder": str(folder),
    }
    if arguments.prune.pruning_times > 1:
        facts["rewind to"] = target[arguments.prune.prune_type]
    if arguments.unread:
        facts["not read"] = ", ".join(arguments.unread)
    return facts


if __name__ == "__main__":
    leave(main())
