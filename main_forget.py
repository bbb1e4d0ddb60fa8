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

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arg_parser
from report.row_names import ADAPTED
from utils import preview
from utils.errors import UsageError, leave, say_last, script


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_forget(argv)
    say_last(arg_parser.remarks(arguments))
    checked = check(arguments)
    from dataset import split_file
    from unlearn.session import clear, outputs

    if arguments.run.dry_run:
        told = intended(arguments, checked, checked.method.name, outputs(checked.method))
        preview.show(
            arguments.run.dry_run,
            f"main_forget.py: {checked.method.name}, {checked.method.summary}",
            told,
            checked.config,
        )
        return 0
    folder, log = open_folder(arguments, checked)
    if folder.result() is None:
        folder.begin("main_forget.py", argv)
        log.line(f"main_forget.py: {arg_parser.reading(arguments)}")
        job = read_data(arguments, checked)
        split_file.write(folder.path, vars(job.split), job.split.digest)
        log.facts(
            f"main_forget.py: {checked.method.name}, {checked.method.summary}",
            header(arguments, checked, job, folder.path),
        )
        with folder.failing(facts(arguments, checked, job)):
            unlearned, session = unlearn(arguments, checked, job, folder, log)
            score(arguments, checked, job, folder, log, unlearned, session)
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    clear(checked.method, folder)
    show(arguments, checked, folder.result(), log)
    return 0


@dataclass(frozen=True)
class Checked:
    """What was found right before any image is read.

    ``only`` are the weights that may change, if a file names them, ``retrained`` is the model to compare outputs with,
    and ``adapters`` says what trains in place of the weights, if anything.
    """

    method: Any
    device: Any
    chosen: Any
    scenario: Any
    start: Any
    only: Any
    retrained: Any
    adapters: Any
    config: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Data, split and image sets of the run, the model before unlearning, and what its checkpoints say of its making."""

    data: Any
    split: Any
    sets: dict[str, Any]
    model: Any
    mask: dict[str, Any]
    stamp: dict[str, Any]


def check(arguments: arg_parser.ForgetArguments) -> Checked:
    """Refuse what can be refused without reading data: device, data set, what to forget, architecture, checkpoint."""
    import models
    from dataset import prepare
    from trainer import given
    from unlearn import lora, registry, saliency, start
    from utils.device import resolve

    method = registry.get(arguments.unlearn.unlearn)
    run = arguments.run
    device = resolve(run.device, run.gpu, run.deterministic, run.no_fast_cpu)
    models.check(arguments.model.arch, arguments.model.imagenet_arch)
    chosen = prepare.find(
        arguments.data.dataset,
        arguments.data.data,
        arguments.data.input_size,
        arguments.data.stream,
        arguments.data.split,
    )
    start.check_validation(method, chosen, arguments.data.dataset)
    scenario = chosen.resolve(arguments.scenario)
    beginning = start.read(arguments, method, chosen)
    only, digest = saliency.given(arguments, chosen)
    retrained = start.read_other(arguments, chosen, arguments.unlearn.reference_model, "--reference_model")
    adapters = lora.plan(arguments.lora, given.blank(arguments, chosen)) if arguments.lora.lora else None
    config = arg_parser.deciding(arguments) | {
        "method": method.name,
        "scenario": scenario.facts(),
        **chosen.identity,
        **beginning.digests,
        "saliency": digest,
        "retrained": retrained and retrained.sha256,
        **models.origin(arguments.model.arch),
    }
    return Checked(method, device, chosen, scenario, beginning, only, retrained, adapters, config)


def open_folder(arguments: arg_parser.ForgetArguments, checked: Checked) -> tuple[Any, Any]:
    """The run's folder, cleared of other runs' files of the same names, and its log."""
    from unlearn.session import outputs
    from utils.log import Log
    from utils.run_folder import RunFolder, fingerprint

    path, method = Path(arguments.run.save_dir), checked.method
    folder = RunFolder(path, method.name, fingerprint(checked.config), outputs(method), keep=arguments.unlearn.resume)
    return folder, Log(folder.path)


def read_data(arguments: arg_parser.ForgetArguments, checked: Checked) -> Job:
    """Load images, divide them, check them against the checkpoint's split, and build the model."""
    from dataset import prepare
    from dataset.split import split_for_unlearning
    from trainer import pretrain
    from unlearn import start

    run = arguments.run
    data = checked.chosen.load()
    base = prepare.base_split(data, run.seed, run.split_seed, run.compat)
    split = split_for_unlearning(data.train_labels, data.test_labels, base, checked.scenario, run.seed)
    start.check_split(checked.start.given, base, arguments.unlearn.allow_split_mismatch)
    check_retrained(arguments, checked, base, split)
    sets = prepare.Views(data, checked.device, arguments.data.workers, run.compat).divided(split)
    model = start.build(arguments, checked.chosen, data, checked.start.weights)
    return Job(
        data, split, sets, model.to(checked.device), checked.start.mask, pretrain.stamp(arguments, checked.chosen, base)
    )


def check_retrained(arguments: arg_parser.ForgetArguments, checked: Checked, base: Any, split: Any) -> None:
    """Refuse to compare with a model that was not trained anew without the images that this run forgets."""
    from unlearn import registry

    retrained, given = checked.retrained, checked.start.given
    if retrained is None:
        return
    where, wanted = (
        f"--reference_model {retrained.path}",
        "give the checkpoint of --unlearn retrain with this forget set",
    )
    maker, digest = retrained.extra.get("unlearn"), retrained.extra.get("forget_digest")
    if maker in registry.names() and not registry.get(maker).fresh:
        raise UsageError(f"{where}: was made by --unlearn {maker}, not trained anew; {wanted}")
    original = given is not None and given.weights and given.sha256 == retrained.sha256
    if original or (digest is None and retrained.extra.get("split_digest") == base.digest):
        raise UsageError(f"{where}: was trained on the images to forget too; {wanted}")
    if digest not in (None, split.digest) and not arguments.unlearn.allow_split_mismatch:
        raise UsageError(
            f"{where}: was retrained on retain and forget sets of digest {digest}, this run's are of "
            f"{split.digest}; give one of the same scenario and seeds, or --allow_split_mismatch"
        )


def unlearn(
    arguments: arg_parser.ForgetArguments, checked: Checked, job: Job, folder: Any, log: Any
) -> tuple[Any, Any]:
    """The unlearned model with its mask and the method's seconds (None if it was not run here), and its session."""
    from unlearn.context import Context
    from unlearn.session import Session

    session = Session(
        checked.method, folder, {**job.stamp, "unlearn": checked.method.name, "forget_digest": job.split.digest}
    )
    context = Context(
        job.mask,
        checked.device,
        arguments.run.seed,
        arguments.run.compat,
        job.data.name,
        len(job.data.classes),
        checked.scenario,
        job.split.whole_classes,
        log,
        session.progress,
        checked.only,
        adapters=checked.adapters,
    )
    unlearned = session.run(
        job.model,
        job.sets,
        arguments.hyper,
        context,
        arguments.model.arch,
        arguments.unlearn.resume,
        arguments.run.allow_pickle,
    )
    return unlearned, session


def score(arguments: Any, checked: Checked, job: Job, folder: Any, log: Any, unlearned: Any, session: Any) -> None:
    """Run the model once over every set, derive all scores, and write them; ``result.json`` comes last."""
    import pruner
    from evaluation import run_scores
    from evaluation.predict import predict_all

    known, adapters, compat = facts(arguments, checked, job), checked.adapters, arguments.run.compat
    others, scored = beside(arguments, checked, job, known, folder.path)
    outputs, *rest = predict_all([unlearned.model, *others.values()], job.sets)
    compared = dict(zip(others, rest))
    scores = run_scores.score(outputs, compat, compared.get("retrained"), checked.method.trains_on_val)
    session.save(unlearned, run_scores.reference_result(scores))
    log.record("scores", **scores)
    parameters = adapters.total if adapters and adapters.apart else sum(p.numel() for p in unlearned.model.parameters())
    after = {"sparsity_after": pruner.sparsity(unlearned.mask), "parameters": parameters}
    folder.finish(
        {
            **known,
            "status": "done",
            "model": {**known["model"], **after},
            "seconds": {"unlearning": unlearned.seconds},
            "memory": {"unlearning": unlearned.memory},
            **scored,
            **{name: run_scores.four(found, compat) for name, found in compared.items()},
            "scores": run_scores.paper_scores(scores, unlearned.seconds),
            "units": "fractions in [0, 1]; RTE in minutes; memory in bytes",
            **scores,
        }
    )


def facts(arguments: Any, checked: Checked, job: Job) -> dict[str, Any]:
    """What ``result.json`` holds however the run ends."""
    import pruner
    from utils.run_folder import environment

    sizes = {name: len(images) for name, images in job.sets.items()}
    origin = checked.start.given.extra if checked.start.given else {}
    return {
        "label": checked.method.name,
        "script": "main_forget.py",
        "method": checked.method.name,
        "paper_name": checked.method.paper + (ADAPTED if checked.adapters else ""),
        "compat": arguments.run.compat,
        "seed": arguments.run.seed,
        "scenario": {"kind": kind(checked, job), "words": words(checked, job), **checked.scenario.facts()},
        "split": {"digest": job.split.digest, "base_digest": job.split.base_digest, **sizes},
        "model": {
            "arch": arguments.model.arch,
            "dataset": job.data.name,
            "sparsity": pruner.sparsity(job.mask),
            "checkpoint": arguments.unlearn.mask,
            "recipe": origin.get("recipe"),
            "round": origin.get("state") if "recipe" in origin else None,
        },
        **({"adapters": checked.adapters.facts()} if checked.adapters else {}),
        "config": checked.config,
        "device": str(checked.device),
        "environment": environment(),
    }


def beside(
    arguments: Any, checked: Checked, job: Job, known: dict[str, Any], folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The models that the unlearned one is set beside, and the original's scores where a run beside this one has them.

    Returns:
        Models by name, ``original`` and ``retrained``, and scores by name.
    """
    from report import verdict
    from unlearn import start

    others, given = {"retrained": checked.retrained}, checked.start.given
    scored = verdict.original(known, folder)
    if scored is None and given is not None and given.weights and checked.method.name != verdict.UNTOUCHED:
        others["original"] = given
    models = {
        name: start.build(arguments, checked.chosen, job.data, one) for name, one in others.items() if one is not None
    }
    return {name: model.to(checked.device) for name, model in models.items()}, {
        "original": scored.scores
    } if scored else {}


def show(arguments: arg_parser.ForgetArguments, checked: Checked, result: dict[str, Any], log: Any) -> None:
    """Print accuracies, with ``--verbose`` every attack, and last the original, the unlearned and the retrained model side by side."""
    from report import scores_text, verdict

    folder = Path(arguments.run.save_dir)
    first, exact = verdict.original(result, folder), verdict.retrained(result, folder)
    attacks = ["", *scores_text.attacks(result)] if arguments.unlearn.verbose else []
    for line in ["", *scores_text.accuracies(result), *attacks, "", verdict.table(result, first, exact), ""]:
        log.line(line)
    for line in verdict.words(result, first, exact, checked.chosen.classes):
        log.line(line)
    if exact is None and result["method"] != "retrain":
        origin = checked.start.given.extra if checked.start.given else {}
        log.line(f"no Retrain to compare with: {arg_parser.retrain_command(arguments, origin.get('recipe'))}")


def kind(checked: Checked, job: Job) -> str:
    """The scenario's name in tables."""
    return checked.scenario.kind(len(job.split.whole_classes))


def words(checked: Checked, job: Job) -> str:
    """What is forgotten, in words."""
    forgotten, size = len(job.split.forget), job.split.count(job.data.train_labels, checked.scenario.labels)
    return checked.scenario.words(forgotten, forgotten + len(job.split.retain), size, job.data.classes)


def intended(arguments: Any, checked: Checked, label: str, outputs: list[str]) -> dict[str, str]:
    """What ``--dry_run`` says: what would be read, forgotten and written, and what of it is there."""
    import pruner

    kept = (
        f", keeps {100 * pruner.density(checked.start.mask):.2f} % of its prunable weights"
        if checked.start.mask
        else ", dense"
    )
    origin = "new weights" if checked.method.fresh else f"the weights in {arguments.unlearn.mask}"
    pruned = f" under the mask of {arguments.unlearn.mask}" if checked.method.fresh and arguments.unlearn.mask else ""
    return {
        "read": preview.data(checked.chosen),
        "model": f"{arguments.model.arch}, starts from {origin}{pruned}{kept}",
        "forget": preview.images(checked.chosen, checked.scenario),
        "method": arg_parser.steps(arguments.hyper),
        **({"adapters": checked.adapters.words()} if checked.adapters else {}),
        "run": preview.run(arguments, checked.device),
        "write": preview.folder(arguments, label, checked.config, outputs),
        **preview.not_read(arguments),
    }


def header(arguments: Any, checked: Checked, job: Job, folder: Path) -> dict[str, str]:
    """What is forgotten, from which model, with which numbers."""
    import pruner
    from trainer.given import provenance

    sizes = "  ".join(f"{name} {len(images):,}" for name, images in job.sets.items())
    gone = ", ".join(map(str, job.split.whole_classes))
    left_out = f" (class {gone} left out of test)" if gone else ""
    origin = f"new weights, mask of {arguments.unlearn.mask}" if checked.method.fresh else str(arguments.unlearn.mask)
    facts = {
        "forget": words(checked, job),
        "data": f"{job.data.name}, {job.data.words}; {sizes}{left_out}",
        **job.data.notes,
        "split": f"base digest {job.split.base_digest}, with forget and retain {job.split.digest}",
        "model": f"{arguments.model.arch}, * remain weight ratio = {100 * pruner.density(job.mask):.2f} %, {origin}",
        **provenance(arguments, checked.start.given, checked.start.rewound, checked.retrained),
        "method": arg_parser.settings(arguments.hyper) or "no hyper-parameters",
        **({"adapters": checked.adapters.words()} if checked.adapters else {}),
        "run": f"setup random seed = {arguments.run.seed}  compat {arguments.run.compat}  device {checked.device}",
        "folder": str(folder),
    }
    if arguments.unread:
        facts["not read"] = f"{', '.join(arguments.unread)}: nothing that {checked.method.name} or this script uses"
    return facts


if __name__ == "__main__":
    leave(main())
