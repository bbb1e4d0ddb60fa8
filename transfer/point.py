"""One point of a transfer, a number of removed classes: the source is unlearned, scored, and transferred."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pruner
from evaluation.predict import predict
from trainer import checkpoints, origin
from trainer.pipeline import Place, complete
from transfer import probe as probes
from transfer.transfer_flags import LinearProbe
from transfer.transfer_problem import TransferProblem, without
from transfer.transfer_setup import PointSetup
from unlearn.apply import Unlearned, apply
from unlearn.context import Progress
from unlearn.forget_problem import ForgetProblem, context
from utils.log import Log
from utils.result import Result


def measure(setup: PointSetup, problem: TransferProblem, argv: list[str] | None) -> dict[str, Any]:
    """Unlearn, probe and score one number of removed classes, or find its finished result.

    Args:
        argv: words of the command line, for ``command.txt``; None for those of this process.
    Returns:
        Content of the point's ``result.json``.
    """

    def work(place: Place) -> Result:
        source = without(setup, problem)
        source.write_split(place.folder.path)
        record = facts(setup, problem, source)
        with place.folder.failing(record):
            unlearned = unlearn(setup, source, place)
            probed = probe(setup, problem, unlearned, place)
            return score(setup, source, unlearned, probed, record, place)

    Log(None).line(f"\nremoved {setup.count}: {setup.listed(setup.count) or 'the model as it is'}")
    return complete(setup, argv, work)[1]


def unlearn(setup: PointSetup, source: ForgetProblem, place: Place) -> Unlearned:
    """The model after unlearning the removed classes: written now, or read from an earlier run's file.

    If no class is removed it is the source model.
    """
    path = setup.folder / f"{setup.method.name}checkpoint.pth.tar"
    progress = Progress(setup.folder / f"{setup.method.name}progress.pth.tar", setup.stamp)
    if setup.stored is not None:
        progress.remove()
        place.log.line(f"Load checkpoint from: {setup.stored.path}")
        return Unlearned(source.model, setup.stored.mask, setup.stored.extra["seconds"])
    unlearned = Unlearned(source.model, source.mask, 0.0)
    if setup.count:
        handed = context(setup, source.data, source.mask, setup.scenario, source.split, place.log, progress)
        unlearned = apply(setup.method, source.model, source.sets, setup.hyper, handed)
    extra = {**source.stamp, "seconds": unlearned.seconds}
    checkpoints.write(checkpoints.unlearned_checkpoint(unlearned.model, unlearned.mask, None, extra), path)
    progress.remove()
    return unlearned


def probe(setup: PointSetup, problem: TransferProblem, unlearned: Unlearned, place: Place) -> probes.Probed:
    """Train the unlearned model for the target, linearly or in full, and write it with its accuracy."""
    flags, name, target = setup.probe, setup.method.name, problem.target
    progress = Progress(setup.folder / f"{name}targetprogress.pth.tar", setup.fingerprint)
    if isinstance(flags, LinearProbe):
        probed = probes.linear(unlearned.model, unlearned.mask, target, flags.probe_l2, place.log)
    else:
        seed = setup.run.train_seed
        probed = probes.full(unlearned.model, unlearned.mask, target, flags, seed, place.log, progress)
    # The checkpoint records the target's own classes, at the image size of the source.
    data = replace(setup.data, dataset=setup.target.source.name, input_size=setup.dataset.side, superclasses=None)
    content = {
        "state_dict": checkpoints.pack(probed.model, probed.mask),
        "classes": list(problem.target_data.classes),
        "accuracy": probed.accuracy,
        "fingerprint": setup.fingerprint,
        "origin": origin.of(setup.network.flags, data, setup.target, setup.run.compat, None),
    }
    checkpoints.write(content, setup.folder / f"{name}target.pth.tar")
    progress.remove()
    return probed


def score(
    setup: PointSetup, source: ForgetProblem, unlearned: Unlearned, probed: probes.Probed, record: Result, place: Place
) -> Result:
    """Score the unlearned model on the source's test and forget sets.

    Returns:
        The record with accuracies on "source", "forget" (None if no class is removed) and "target", in [0, 1].
    """
    outputs = predict(unlearned.model, {key: source.sets[key] for key in ("test", "forget") if len(source.sets[key])})
    accuracy = {"source": outputs["test"].accuracy, "forget": None, "target": probed.accuracy}
    if setup.count:
        accuracy["forget"] = outputs["forget"].accuracy
    seconds = {"unlearning": unlearned.seconds, "probing": probed.seconds}
    place.log.line("  ".join(f"{key} {100 * value:.2f} %" for key, value in accuracy.items() if value is not None))
    place.log.record("scores", accuracy=accuracy, seconds=seconds)
    model = (record.model or {}) | {"sparsity_after": pruner.sparsity(unlearned.mask)}
    return replace(record, model=model, accuracy=accuracy, seconds=seconds, units="fractions in [0, 1]; seconds")


def facts(setup: PointSetup, problem: TransferProblem, source: ForgetProblem) -> Result:
    """The entries of ``result.json`` that are known before the point's work."""
    split, target, classes = source.split, problem.target, list(setup.classes)
    model = {"arch": setup.arch, "dataset": problem.data.name, "sparsity": pruner.sparsity(source.mask)}
    return setup.unlearning_result(
        removed={"count": setup.count, "classes": classes, "names": [problem.data.classes[label] for label in classes]},
        split={"digest": split.digest, "base_digest": split.base_digest, **source.sizes},
        target={"name": setup.target_name, "classes": target.classes}
        | {"train": len(target.train), "test": len(target.test)},
        model=model | {"checkpoint": setup.mask_file},
    )
