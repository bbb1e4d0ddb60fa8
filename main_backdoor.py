#!/usr/bin/env python3
"""Poison a training set, prune, unlearn the poisoned images: attack success (ASR) and accuracy (SA) before and after.

    python main_backdoor.py --num_indexes_to_replace 4500 --rate 0.95 --rewind_epoch 8 --save_dir runs/trojan95
    python main_backdoor.py --sparsities 0,0.75,0.9,0.95,0.99 --rewind_epoch 8 --save_dir runs/trojan
    python main_backdoor.py --mask runs/trojan95/1checkpoint.pth.tar --unlearn FT_prune --save_dir runs/trojan95-l1

The first trains on 4,500 images that carry a black square and the label of class 0, prunes 95 %, trains
again and fine-tunes on the clean images (the paper's Trojan model cleanse); the second is its whole figure,
with one dense training for all sparsities; the third unlearns a model that is there already.
A killed run goes on from its last epoch when the same command is given again.
"""
from __future__ import annotations

import csv
import io
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import arg_parser
from evaluation import backdoor, tables
from utils import files
from utils.errors import UsageError, leave, script

EXAMPLES = 8  # images in trigger.png, each of another class


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_backdoor(argv)
    checked = check(arguments)
    if arguments.run.dry_run:
        print(json.dumps(checked.config, indent=1, default=str))
        return 0
    if arguments.sparsities is None:
        single(arguments, checked, argv)
    else:
        curve(arguments, checked, argv)
    return 0


@dataclass(frozen=True)
class Checked:
    """What was found right before any image is read.

    Attributes:
        scenario: which images are poisoned.
        given: the model to unlearn, or None if it is to be trained.
        rewound: weights to start unlearning from instead of the model's, or None.
        only: the weights that may change, if a file names them.
        training: names a training by everything that decides its numbers.
        config: everything that decides the run's numbers, as plain data.
    """

    method: Any
    device: Any
    chosen: Any
    scenario: Any
    given: Any
    rewound: Any
    only: Any
    training: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Data, poison and image sets of the run; ``bench`` is what a training works on."""

    poison: Any
    words: str
    bench: Any


@dataclass(frozen=True)
class Trained:
    """A poisoned model: its mask, and one summary per round of training if it was trained here."""

    mask: dict[str, Any]
    rounds: list[dict[str, Any]] | None


def check(arguments: arg_parser.BackdoorArguments) -> Checked:
    """Refuse what can be refused without reading data: device, data set, poison, architecture, checkpoint."""
    import models
    from dataset import prepare
    from unlearn import registry, saliency, start
    from utils import checkpoints
    from utils.device import resolve
    from utils.run_folder import fingerprint

    method = registry.get(arguments.unlearn.unlearn)
    device = resolve(arguments.run.device, arguments.run.gpu, arguments.run.deterministic)
    arch, stem = arguments.model.arch, arguments.model.imagenet_arch
    models.check(arch, stem)
    chosen = prepare.choose(arguments.data.dataset, arguments.data.data, arguments.data.input_size)
    if chosen.source.streamed:
        raise UsageError(f"--dataset {chosen.source.name}: images are poisoned in memory, and these are read from disk as needed; use another data set")
    check_poison(arguments, chosen)
    start.check_validation(method, chosen, arguments.data.dataset)
    scenario = arguments.scenario.resolve(chosen.train_counts)
    blank = models.blank(arch, chosen.classes, chosen.side, stem)
    given = rewound = None
    if arguments.unlearn.mask is not None and is_there(Path(arguments.unlearn.mask), Path(arguments.run.save_dir), method):
        given = checkpoints.read(Path(arguments.unlearn.mask), "--mask", arguments.run.allow_pickle, blank)
        checkpoints.check_fits(given, blank, arch, "--mask")
    if getattr(arguments.hyper, "rewind_pth", None) is not None:
        rewound = checkpoints.read(Path(arguments.hyper.rewind_pth), "--rewind_pth", arguments.run.allow_pickle, blank)
        checkpoints.check_fits(rewound, blank, arch, "--rewind_pth")
    only, digest = saliency.given(arguments, chosen)
    config = arg_parser.deciding(arguments) | {"scenario": scenario.facts(), "official_counts": chosen.official, **models.origin(arch)}
    training = fingerprint({key: value for key, value in config.items() if key not in ("unlearn", "hyper", "sparsities")})
    if arguments.sparsities is not None:
        del config["prune"]["rate"]
    config |= {"method": method.name, "rewind": rewound and rewound.sha256, **({"saliency": digest} if digest else {})}
    if given is not None and given.extra.get("trained") != training:  # not the file that this very command wrote
        config = {key: value for key, value in config.items() if key not in ("train", "prune")} | {"checkpoint": given.sha256}
    return Checked(method, device, chosen, scenario, given, rewound, only, training, config)


def check_poison(arguments: arg_parser.BackdoorArguments, chosen: Any) -> None:
    """Refuse classes that there are not, and a trigger that does not fit on the images."""
    from dataset.trigger import MARGIN

    for flag, label in (("--target_label", arguments.target), ("--poison_class", (arguments.scenario.labels or (0,))[0])):
        if label >= chosen.classes:
            raise UsageError(f"{flag} {label}: the classes are 0 to {chosen.classes - 1}")
    size, side = arguments.trigger.size, chosen.side
    if size > side - MARGIN:
        raise UsageError(f"--trigger_size {size}: must be at most {side - MARGIN}, {MARGIN} less than the images' {side} pixels")


def is_there(mask: Path, save_dir: Path, method: Any) -> bool:
    """Whether ``--mask`` names a model to read; if not, one will be written there, so that must be possible."""
    from trainer import rounds
    from unlearn.session import outputs

    if mask.exists():
        return True
    if mask.resolve().parent == save_dir.resolve() and any(mask.match(pattern) for pattern in rounds.OUTPUTS + outputs(method)):
        raise UsageError(f"--mask {mask}: no such file, and this run writes one of that name itself; give another name or leave --mask out")
    nearest = next(place for place in mask.resolve().parents if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UsageError(f"--mask {mask}: no such file, and nothing can be written to {nearest}")
    return False


def read_data(arguments: arg_parser.BackdoorArguments, checked: Checked) -> Job:
    """Load images, poison some, divide them, and build the model that training starts from."""
    from dataset import prepare
    from dataset.poison import Poison, image_sets
    from dataset.split import choose_forget
    from trainer import pretrain

    run = arguments.run
    data = checked.chosen.load()
    base = prepare.base_split(data, run.seed, run.split_seed, run.compat)
    marked = prepare.marked_split(data, run.seed, base, run.compat)
    poison = Poison(choose_forget(data.train_labels, marked.train, checked.scenario, run.seed), arguments.target, arguments.trigger)
    sets = image_sets(data, poison, marked.train, base.val, checked.device)
    model = pretrain.new_model(arguments, checked, data)
    return Job(poison, words(checked, data, poison, len(marked.train)), pretrain.Bench(data, marked, sets, model))


def words(checked: Checked, data: Any, poison: Any, train: int) -> str:
    """The poison in words."""
    labels = checked.scenario.labels
    size = None if labels is None else sum(checked.chosen.train_counts[label] for label in labels)
    images = checked.scenario.words(len(poison.indices), train, size, data.classes)
    return f"{images} get a {poison.trigger.words} and label {poison.target} ({data.classes[poison.target]})"


def origin(arguments: arg_parser.BackdoorArguments, job: Job) -> dict[str, Any]:
    """What the checkpoints of this run say of the images that the model was trained on."""
    from trainer import pretrain

    return {**pretrain.origin(arguments, job.bench), "poison_digest": job.poison.digest, "poison": job.words}


def open_folder(arguments: arg_parser.BackdoorArguments, checked: Checked) -> tuple[Any, Any]:
    """The folder of one cleanse, cleared of other runs' files of the same names, and its log."""
    from trainer import rounds
    from unlearn.session import outputs
    from utils.log import Log
    from utils.run_folder import RunFolder, fingerprint

    parts = {} if checked.given is not None else {"training": (checked.training, rounds.OUTPUTS)}
    folder = RunFolder(
        Path(arguments.run.save_dir), checked.method.name, fingerprint(checked.config), outputs(checked.method),
        keep=arguments.unlearn.resume, parts=parts,
    )
    return folder, Log(folder.path)


def single(arguments: arg_parser.BackdoorArguments, checked: Checked, argv: list[str] | None) -> None:
    """Train or load a poisoned model, and cleanse it."""
    from trainer.rounds import Names
    from unlearn.session import clear

    folder, log = open_folder(arguments, checked)
    if folder.result() is None:
        folder.begin("main_backdoor.py", argv)
        job = read_data(arguments, checked)
        check_origin(arguments, checked, job)
        log.facts(f"main_backdoor.py: {checked.method.name}, {checked.method.summary}", header(arguments, checked, job, folder.path))
        with folder.failing(facts(arguments, checked, job)):
            trained = load(checked, job) if checked.given is not None else train(arguments, checked, job, Names(folder.path), log)
            if checked.given is None and arguments.unlearn.mask is not None:
                keep(arguments, checked, job, trained)
            cleanse(arguments, checked, job, trained, folder, log)
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    clear(checked.method, folder)
    show([point(folder.result())], log)


def check_origin(arguments: arg_parser.BackdoorArguments, checked: Checked, job: Job) -> None:
    """Refuse a model that was trained on other images, or on others' poison, than this run would have it forget."""
    from unlearn.start import check_split

    given, allowed = checked.given, arguments.unlearn.allow_split_mismatch
    check_split(given, job.bench.base, allowed)
    if given is None:
        return
    if "poison_digest" not in given.extra:
        print(f"warning: {given.path} does not say with which poison it was trained", file=sys.stderr)
    elif given.extra["poison_digest"] != job.poison.digest and not allowed:
        raise UsageError(
            f"--mask {given.path}: was trained with another poison ({given.extra['poison_digest']}: {given.extra['poison']}) than this run's "
            f"({job.poison.digest}: {job.words}); give the flags that it was trained with, or --allow_split_mismatch"
        )


def load(checked: Checked, job: Job) -> Trained:
    """Give the model of ``job`` the weights of ``--mask``."""
    from utils import checkpoints

    checkpoints.load_weights(job.bench.model, checked.given)
    return Trained(checked.given.mask, None)


def train(
    arguments: arg_parser.BackdoorArguments, checked: Checked, job: Job, names: Any, log: Any, dense: Any = None
) -> Trained:
    """Train the model of ``job`` on the poisoned set and prune it, going on from a killed run.

    Args:
        dense: the checkpoint of a finished dense round to begin with.
    """
    from trainer import pretrain

    prune, seed = arguments.prune, arguments.run.train_seed
    stamp = {"fingerprint": checked.training, **origin(arguments, job)}
    mask = pretrain.prune_first(job.bench, "synflow", prune.rate, None, seed, log) if prune.prune == "synflow" else {}
    rounds, mask = pretrain.carry(arguments, job.bench, plan(arguments), names, stamp, log, dense, mask)
    return Trained(mask, rounds)


def plan(arguments: arg_parser.BackdoorArguments) -> Any:
    """The pruning flags as a plan."""
    from trainer.rounds import Plan

    prune, run = arguments.prune, arguments.run
    return Plan(
        prune.pruning_times, prune.rate, prune.prune_type, prune.rewind_epoch, "random" if prune.random_prune else "magnitude",
        seed=run.train_seed, augmented_validation=run.compat == "reference", label_smoothing=arguments.train.label_smoothing,
    )


def keep(arguments: arg_parser.BackdoorArguments, checked: Checked, job: Job, trained: Trained) -> None:
    """Write the trained model to ``--mask``, where the same command, or one with another method, finds it."""
    from utils import checkpoints

    content = {"state_dict": checkpoints.pack(job.bench.model, trained.mask), "trained": checked.training, **origin(arguments, job)}
    files.make_folder(Path(arguments.unlearn.mask).parent)
    checkpoints.write(content, Path(arguments.unlearn.mask))


def cleanse(arguments: arg_parser.BackdoorArguments, checked: Checked, job: Job, trained: Trained, folder: Any, log: Any) -> None:
    """Score the model, make it forget the poisoned images, score it again, and write everything; ``result.json`` comes last."""
    import pruner
    from evaluation.predict import predict
    from trainer import pretrain
    from unlearn.context import Context
    from unlearn.session import Session
    from utils import checkpoints

    run, bench, method = arguments.run, job.bench, checked.method
    tests = {name: bench.sets[name] for name in ("test", "triggered")}
    outputs = {"before": predict(bench.model, tests)}
    scores = {"before": backdoor.score(**outputs["before"])}
    session = Session(method, folder, origin(arguments, job))
    session.save_evaluation(backdoor.reference_result(scores["before"]))
    log.line(f"* remain weight ratio = {100 * pruner.density(trained.mask):.4f} %")
    log.line(f"before  {said(scores['before'])}")
    log.record("before", **scores["before"])
    start = pretrain.new_model(arguments, checked, bench.data) if method.fresh else bench.model
    if checked.rewound is not None:
        checkpoints.load_weights(start, checked.rewound)
    context = Context(
        trained.mask, checked.device, run.seed, run.compat, bench.data.name, len(bench.data.classes), checked.scenario, (), log,
        session.progress, checked.only,
    )
    unlearned = session.run(
        start, bench.sets, arguments.hyper, context, arguments.model.arch, arguments.unlearn.resume, run.allow_pickle,
        backdoor.reference_result(scores["before"]),
    )
    outputs["after"] = predict(unlearned.model, tests)
    scores["after"] = backdoor.score(**outputs["after"])
    log.line(f"after   {said(scores['after'])}")
    log.record("after", **scores["after"])
    session.save(unlearned, backdoor.reference_result(**scores))
    picture(folder.path / "trigger.png", job, outputs, method.name)
    folder.finish(result(arguments, checked, job, trained, unlearned, scores))


def result(arguments: Any, checked: Checked, job: Job, trained: Trained, unlearned: Any, scores: dict[str, Any]) -> dict[str, Any]:
    """What ``result.json`` holds of a finished cleanse."""
    import pruner

    minutes = None if unlearned.seconds is None else unlearned.seconds / 60
    known = facts(arguments, checked, job)
    model = {
        "sparsity": pruner.sparsity(trained.mask), "sparsity_after": pruner.sparsity(unlearned.mask),
        "parameters": sum(p.numel() for p in unlearned.model.parameters()), "rounds": trained.rounds,
    }
    return {
        **known, "status": "done", "model": {**known["model"], **model}, "scores": {**scores, "RTE": minutes},
        "units": "fractions in [0, 1]; RTE in minutes; ASR over all triggered test images, ASR_other without those of the target class",
        "seconds": {"unlearning": unlearned.seconds},
    }


def facts(arguments: Any, checked: Checked, job: Job) -> dict[str, Any]:
    """What ``result.json`` holds however the run ends."""
    from utils.run_folder import environment

    bench, method, poison = job.bench, checked.method, job.poison
    return {
        "label": method.name, "script": "main_backdoor.py", "method": method.name, "paper_name": method.paper, "compat": arguments.run.compat,
        "seed": arguments.run.seed,
        "poison": {
            "words": job.words, "digest": poison.digest, "target": poison.target, "images": len(poison.indices),
            "trigger": asdict(poison.trigger), **checked.scenario.facts(),
        },
        "split": {"digest": bench.base.digest, "seed": bench.base.seed, **{name: len(images) for name, images in bench.sets.items()}},
        "model": {"arch": arguments.model.arch, "dataset": bench.data.name, "checkpoint": arguments.unlearn.mask},
        "config": checked.config, "device": str(checked.device), "environment": environment(),
    }


def picture(path: Path, job: Job, outputs: dict[str, Any], method: str) -> None:
    """Some test images, clean and with the trigger, and what the model takes them for before and after."""
    from evaluation import plots

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


def curve(arguments: arg_parser.BackdoorArguments, checked: Checked, argv: list[str] | None) -> None:
    """Cleanse models of several sparsities that share one dense training, and table them."""
    from trainer import rounds
    from utils.log import Log
    from utils.run_folder import RunFolder, fingerprint

    home = Path(arguments.run.save_dir)
    several = {sparsity: at(arguments, sparsity, home / f"sparsity_{sparsity:g}") for sparsity in (0.0, *arguments.sparsities)}
    dense = several[0.0][1]
    folder = RunFolder(
        home, "curve", fingerprint(checked.config), ["backdoor.md", "backdoor.csv", "backdoor.png"],
        parts={"training": (dense.training, rounds.OUTPUTS)},
    )
    log = Log(home)
    if folder.result() is None:
        folder.begin("main_backdoor.py", argv)
        job = read_data(arguments, checked)
        log.facts(f"main_backdoor.py: {checked.method.name} at sparsity {arg_parser.describe(arguments.sparsities)}", header(arguments, checked, job, home))
        trained = train(*several[0.0], job, rounds.Names(home), log)
        results = [a_point(*several[sparsity], job, trained, home) for sparsity in arguments.sparsities]
        finish(folder, job, checked, results)
    else:
        log.line(f"done already: {home / 'result.json'}")
    show(folder.result()["points"], log)


def at(arguments: arg_parser.BackdoorArguments, sparsity: float, folder: Path) -> tuple[arg_parser.BackdoorArguments, Checked]:
    """One sparsity of a curve as a command of its own."""
    single = arg_parser.parse_backdoor([*arguments.typed, f"--rate={sparsity!r}", f"--save_dir={folder}"])
    return single, check(single)


def a_point(arguments: arg_parser.BackdoorArguments, checked: Checked, job: Job, dense: Trained, home: Path) -> dict[str, Any]:
    """Prune the dense model, train it again, cleanse it; the result is that of the same command alone.

    Args:
        dense: the finished dense round, whose files are in ``home``.
    """
    from trainer.rounds import Names
    from unlearn.session import clear
    from utils import checkpoints

    folder, log = open_folder(arguments, checked)
    log.line(f"\nsparsity {100 * arguments.prune.rate:.4g} %: {folder.path}")
    if folder.result() is None:
        folder.begin("main_backdoor.py", [*arguments.typed, f"--rate={arguments.prune.rate!r}", f"--save_dir={folder.path}"])
        names = Names(folder.path, home)
        last = checkpoints.read(names.last(0), "checkpoint")
        with folder.failing(facts(arguments, checked, job)):
            if arguments.prune.prune == "none":
                checkpoints.load_weights(job.bench.model, last)
                trained = dense
            else:
                begun = replace(last, extra={**last.extra, "rounds": dense.rounds})
                trained = train(arguments, checked, job, names, log, begun)
            cleanse(arguments, checked, job, trained, folder, log)
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    clear(checked.method, folder)
    return folder.result()


def point(found: dict[str, Any]) -> dict[str, Any]:
    """A finished cleanse as a row of a table."""
    scores = found["scores"]
    return {"sparsity": found["model"]["sparsity"], "before": scores["before"], "after": scores["after"], "RTE": scores["RTE"]}


def finish(folder: Any, job: Job, checked: Checked, results: list[dict[str, Any]]) -> None:
    """Write the curve as Markdown, CSV and picture, and ``result.json``."""
    from evaluation import plots
    from utils.run_folder import environment

    points = [point(found) for found in results]
    first, method = results[0], checked.method
    title = f"{first['model']['dataset']}, {first['model']['arch']}: {job.words}; unlearned by {method.name}"
    files.write_text(folder.path / "backdoor.md", f"{title}\n\n{tables.markdown(*backdoor.table(points))}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(backdoor.long_rows(points))
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


def show(points: list[dict[str, Any]], log: Any) -> None:
    """Print the table."""
    log.line()
    log.line(tables.aligned(*backdoor.table(points)))


def said(scores: dict[str, float | None]) -> str:
    """Scores on one line, in per cent."""
    return "  ".join(f"{title} {tables.percent(scores[name])} %" for name, title in backdoor.COLUMNS.items())


def header(arguments: arg_parser.BackdoorArguments, checked: Checked, job: Job, folder: Path) -> dict[str, str]:
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
        facts["training"] = arg_parser.settings(arguments.train)
    facts |= {
        "method": arg_parser.settings(arguments.hyper) or "no hyper-parameters",
        "run": f"setup random seed = {run.seed}, {run.train_seed} in training  compat {run.compat}  device {checked.device}",
        "folder": str(folder),
    }
    if arguments.unread:
        facts["not read"] = f"{', '.join(arguments.unread)}: nothing that {checked.method.name} or this script uses"
    return facts


if __name__ == "__main__":
    leave(main())
