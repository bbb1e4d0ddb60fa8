"""A poisoned model, trained and pruned or read from a file, and its cleanse: scored, unlearned, scored again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pruner
from arg_parser import BackdoorArguments
from backdoor.job import Checked, Job, stamp
from evaluation.attack_success import reference_result, score
from evaluation.predict import predict
from report.trigger_picture import picture
from report.verdict import backdoor_scores
from trainer import pretrain
from trainer.rounds import OUTPUTS, Names
from unlearn.apply import Unlearned
from unlearn.context import Context
from unlearn.session import Session, outputs
from utils import checkpoints, files
from utils.log import Log
from utils.run_folder import RunFolder, environment, fingerprint


@dataclass(frozen=True)
class Trained:
    """A poisoned model: its mask, and one summary per round of training if it was trained here."""

    mask: pruner.Mask
    rounds: list[dict[str, Any]] | None


def open_folder(arguments: BackdoorArguments, checked: Checked) -> tuple[RunFolder, Log]:
    """The folder of one cleanse, cleared of other runs' files of the same names, and its log."""
    parts = {} if checked.given is not None else {"training": (checked.training, OUTPUTS)}
    folder = RunFolder(
        Path(arguments.run.save_dir),
        checked.method.name,
        fingerprint(checked.config),
        outputs(checked.method),
        keep=arguments.unlearn.resume,
        parts=parts,
    )
    return folder, Log(folder.path)


def load(checked: Checked, job: Job) -> Trained:
    """Give the model of ``job`` the weights of ``--mask``."""
    checkpoints.load_weights(job.bench.model, checked.given)
    return Trained(checked.given.mask, None)


def train(
    arguments: BackdoorArguments,
    checked: Checked,
    job: Job,
    names: Names,
    log: Log,
    dense: checkpoints.Checkpoint | None = None,
) -> Trained:
    """Train the model of ``job`` on the poisoned set and prune it, going on from a killed run.

    Args:
        dense: the checkpoint of a finished dense round to begin with.
    """
    prune, seed = arguments.prune, arguments.run.train_seed
    entries = {"fingerprint": checked.training, **stamp(arguments, checked, job)}
    mask = pretrain.prune_first(job.bench, "synflow", prune.rate, None, seed, log) if prune.prune == "synflow" else {}
    rounds, mask = pretrain.carry(arguments, job.bench, pretrain.plan(arguments), names, entries, log, dense, mask)
    return Trained(mask, rounds)


def keep(arguments: BackdoorArguments, checked: Checked, job: Job, trained: Trained) -> None:
    """Write the trained model to ``--mask``, where the same command, or one with another method, finds it."""
    entries = {"trained": checked.training, **stamp(arguments, checked, job)}
    content = {"state_dict": checkpoints.pack(job.bench.model, trained.mask), **entries}
    files.make_folder(Path(arguments.unlearn.mask).parent)
    checkpoints.write(content, Path(arguments.unlearn.mask))


def cleanse(
    arguments: BackdoorArguments, checked: Checked, job: Job, trained: Trained, folder: RunFolder, log: Log
) -> None:
    """Score the model, make it forget the poisoned images, score it again, and write everything; ``result.json`` comes last."""
    run, bench, method = arguments.run, job.bench, checked.method
    job.write_split(folder.path)
    tests = {name: bench.sets[name] for name in ("test", "triggered")}
    predictions = {"before": predict(bench.model, tests)}
    scores = {"before": score(**predictions["before"])}
    session = Session(method, folder, stamp(arguments, checked, job))
    session.save_evaluation(reference_result(scores["before"]))
    log.line(f"* remain weight ratio = {100 * pruner.density(trained.mask):.4f} %")
    log.line(f"before  {backdoor_scores(scores['before'])}")
    log.record("before", **scores["before"])
    start = pretrain.new_model(arguments, checked, bench.data) if method.fresh else bench.model
    if checked.rewound is not None:
        checkpoints.load_weights(start, checked.rewound)
    context = Context(
        trained.mask,
        checked.device,
        run.seed,
        run.compat,
        bench.data.name,
        len(bench.data.classes),
        checked.scenario,
        (),
        log,
        session.progress,
        checked.only,
    )
    unlearned = session.run(
        start,
        bench.sets,
        arguments.hyper,
        context,
        arguments.model.arch,
        arguments.unlearn.resume,
        run.allow_pickle,
        reference_result(scores["before"]),
    )
    predictions["after"] = predict(unlearned.model, tests)
    scores["after"] = score(**predictions["after"])
    log.line(f"after   {backdoor_scores(scores['after'])}")
    log.record("after", **scores["after"])
    session.save(unlearned, reference_result(**scores))
    picture(folder.path / "trigger.png", bench.data, job.poison, predictions, method.name)
    folder.finish(result(arguments, checked, job, trained, unlearned, scores))


def result(
    arguments: BackdoorArguments,
    checked: Checked,
    job: Job,
    trained: Trained,
    unlearned: Unlearned,
    scores: dict[str, Any],
) -> dict[str, Any]:
    """What ``result.json`` holds of a finished cleanse."""
    minutes = None if unlearned.seconds is None else unlearned.seconds / 60
    known = facts(arguments, checked, job)
    model = {
        "sparsity": pruner.sparsity(trained.mask),
        "sparsity_after": pruner.sparsity(unlearned.mask),
        "parameters": sum(p.numel() for p in unlearned.model.parameters()),
        "rounds": trained.rounds,
    }
    return {
        **known,
        "status": "done",
        "model": {**known["model"], **model},
        "scores": {**scores, "RTE": minutes},
        "units": "fractions in [0, 1]; RTE in minutes; ASR over all triggered test images, ASR_other without those of the target class",
        "seconds": {"unlearning": unlearned.seconds},
    }


def facts(arguments: BackdoorArguments, checked: Checked, job: Job) -> dict[str, Any]:
    """What ``result.json`` holds however the run ends."""
    bench, method, poison = job.bench, checked.method, job.poison
    return {
        "label": method.name,
        "script": "main_backdoor.py",
        "method": method.name,
        "paper_name": method.paper,
        "compat": arguments.run.compat,
        "seed": arguments.run.seed,
        "poison": {
            "words": job.words,
            "digest": poison.digest,
            "target": poison.target,
            "images": len(poison.indices),
            "trigger": asdict(poison.trigger),
            **checked.scenario.facts(),
        },
        "split": {
            "digest": bench.base.digest,
            "seed": bench.base.seed,
            **{name: len(images) for name, images in bench.sets.items()},
        },
        "model": {"arch": arguments.model.arch, "dataset": bench.data.name, "checkpoint": arguments.unlearn.mask},
        "config": checked.config,
        "device": str(checked.device),
        "environment": environment(),
    }
