"""The stages of ``main_backdoor.py``: train or load a poisoned model, score it, unlearn the poison, score it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pruner
from backdoor import outcome
from backdoor.cleanse_setup import CleanseSetup, CurveSetup, set_up
from backdoor.poisoned_problem import PoisonedProblem, read
from evaluation.attack_success import reference_result, score
from evaluation.predict import predict
from report import backdoor_table
from report.trigger_picture import picture
from report.verdict import backdoor_scores
from trainer import checkpoints, training
from trainer.pipeline import Place, Stages, complete
from trainer.rounds import Files
from unlearn.forget_problem import context
from unlearn.session import Session
from utils import files
from utils.log import Log
from utils.result import Result


@dataclass(frozen=True)
class Trained:
    """What is known of a poisoned model after its training.

    Attributes:
        mask: True for weights that are kept.
        rounds: one summary per round of training; None if the model was not trained by this command.
    """

    mask: pruner.Mask
    rounds: list[dict[str, Any]] | None


def facts(setup: CleanseSetup, problem: PoisonedProblem) -> Result:
    """The entries of ``result.json`` that are known before the run's work."""
    poison = problem.poison
    poisoned = {"words": problem.words, "digest": poison.digest, "target": poison.target, "images": len(poison.indices)}
    return setup.unlearning_result(
        poison=poisoned | {"trigger": asdict(poison.trigger), **setup.scenario.facts()},
        split={"digest": problem.base.digest, "seed": problem.base.seed, **problem.sizes},
        model={"arch": setup.arch, "dataset": problem.data.name, "checkpoint": setup.mask_file},
    )


def run(setup: CleanseSetup, problem: PoisonedProblem, record: Result, place: Place) -> Result:
    """Cleanse one model, or one for each sparsity of a curve."""
    if isinstance(setup, CurveSetup):
        return curve(setup, problem, record, place)
    if setup.checkpoint is not None:
        return cleanse(setup, problem, Trained(setup.checkpoint.mask, None), record, place)
    trained = train(setup, problem, place.folder.path, place.log)
    if setup.mask_file is not None:
        keep(Path(setup.mask_file), setup, problem, trained)
    return cleanse(setup, problem, trained, record, place)


def train(
    setup: CleanseSetup,
    problem: PoisonedProblem,
    folder: Path,
    log: Log,
    dense: tuple[Path, checkpoints.Checkpoint] | None = None,
) -> Trained:
    """Train ``problem.model`` on the poisoned set and prune it; a run that was killed goes on from its last checkpoint.

    Args:
        folder: where checkpoints are written.
        dense: the folder of a finished dense round, and its checkpoint to start from; None to train that round too.
    """
    prune, mask = setup.prune, {}
    home, begin = dense or (None, None)
    written = Files(folder, {"fingerprint": setup.training, **problem.stamp}, home, setup.run.checkpoint_every)
    if prune.prune == "synflow":
        mask = training.prune_first(problem, "synflow", prune.rate, None, setup.run.train_seed, log)
    plan = training.plan_of(setup.train, prune, setup.run)
    rounds_run, mask = training.run_plan(problem, plan, written, log, begin, mask)
    return Trained(mask, rounds_run)


def keep(path: Path, setup: CleanseSetup, problem: PoisonedProblem, trained: Trained) -> None:
    """Write the trained model to ``path``, the value of ``--mask``, where later commands with any method read it."""
    state = checkpoints.pack(problem.model, trained.mask)
    files.make_folder(path.parent)
    checkpoints.write({"state_dict": state, "trained": setup.training, **problem.stamp}, path)


def cleanse(setup: CleanseSetup, problem: PoisonedProblem, trained: Trained, record: Result, place: Place) -> Result:
    """Score the model, unlearn the poisoned images, score it again, and write model, scores and ``trigger.png``."""
    log, method, model = place.log, setup.method, problem.model
    tests = {name: problem.sets[name] for name in ("test", "triggered")}
    predictions = {"before": predict(model, tests)}
    scores = {"before": score(**predictions["before"])}
    session = Session(setup, place.folder, problem.stamp)
    session.save_evaluation(reference_result(scores["before"]))
    log.line(f"* remain weight ratio = {100 * pruner.density(trained.mask):.4f} %")
    log.line(f"before  {backdoor_scores(scores['before'])}")
    log.record("before", **scores["before"])
    if method.fresh or setup.rewound is not None:
        model = setup.network.model(problem.data, setup.rewound).to(setup.device)
    handed = context(setup, problem.data, trained.mask, setup.scenario, None, log, session.progress)
    unlearned = session.run(model, problem.sets, handed, reference_result(scores["before"]))
    predictions["after"] = predict(unlearned.model, tests)
    scores["after"] = score(**predictions["after"])
    log.line(f"after   {backdoor_scores(scores['after'])}")
    log.record("after", **scores["after"])
    session.save(unlearned, reference_result(**scores))
    picture(place.folder.path / "trigger.png", problem.data, problem.poison, predictions, method.name)
    after = {"sparsity_after": pruner.sparsity(unlearned.mask), "parameters": training.parameters(unlearned.model)}
    findings = {"sparsity": pruner.sparsity(trained.mask), **after, "rounds": trained.rounds}
    return replace(
        record,
        model=(record.model or {}) | findings,
        scores={**scores, "RTE": None if unlearned.seconds is None else unlearned.seconds / 60},
        units="fractions in [0, 1]; RTE in minutes; ASR over all triggered test images, ASR_other without those of the "
        "target class",
        seconds={"unlearning": unlearned.seconds},
    )


def curve(setup: CurveSetup, problem: PoisonedProblem, record: Result, place: Place) -> Result:
    """The curve of Jia et al. (2023): one dense training, then for each sparsity pruning, retraining and a cleanse."""
    dense = train(setup.dense, problem, setup.folder, place.log)
    results = [cleanse_at(point, problem, dense, setup.folder) for point in setup.points]
    backdoor_table.save(results, setup.folder / "backdoor")
    points = [{"sparsity": result["model"]["sparsity"], **_scores(result)} for result in results]
    units, split = results[0]["units"], record.split
    return setup.result(method=setup.method.name, points=points, units=units, poison=record.poison, split=split)


def _scores(result: dict[str, Any]) -> dict[str, Any]:
    return {key: result["scores"][key] for key in ("before", "after", "RTE")}


def cleanse_at(setup: CleanseSetup, problem: PoisonedProblem, dense: Trained, home: Path) -> dict[str, Any]:
    """Prune the dense model, train it again and cleanse it.

    Args:
        setup: of one point of a curve.
        dense: the finished dense round.
        home: the folder of its files.
    Returns:
        Content of ``result.json``, equal to that of a command with this sparsity alone.
    """

    def work(place: Place) -> Result:
        last, record = checkpoints.read(Files(home, {}).last(0), "checkpoint"), facts(setup, problem)
        problem.write_split(place.folder.path)
        with place.folder.failing(record):
            if setup.prune.prune == "none":
                checkpoints.load_weights(problem.model, last)
                trained = dense
            else:
                begun = replace(last, extra={**last.extra, "rounds": dense.rounds})
                trained = train(setup, problem, place.folder.path, place.log, (home, begun))
            return cleanse(setup, problem, trained, record, place)

    Log(None).line(f"\nsparsity {100 * setup.prune.rate:.4g} %: {setup.folder}")
    words = [*setup.typed, f"--rate={setup.prune.rate!r}", f"--save_dir={setup.folder}"]
    return complete(setup, words, work)[1]


STAGES = Stages(set_up, outcome.preview, read, outcome.header, facts, run, outcome.show)
