"""Rounds of training, pruning and rewinding, with a checkpoint after every epoch.

Round 0 is dense. Each later round prunes a fraction of the remaining weights, rewinds to earlier weights and trains
again. One such round is OMP, several are IMP (Frankle & Carbin 2019; Ma et al. 2021).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

import pruner
from dataset.images import Images
from evaluation.predict import accuracy_on, predict
from pruner import passage
from report import plots
from trainer import checkpoints, position
from trainer.checkpoints import Position
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Classification
from utils import seeds
from utils.errors import DivergedError
from utils.log import EpochLog, Log

# The run's own files as glob patterns; see ``Files``.
OUTPUTS = [
    "[0-9]*checkpoint.pth.tar",
    "[0-9]*model_SA_best.pth.tar",
    "epoch_*_rewind_weight.pt",
    "[0-9]*net_train.png",
    "[0-9]*outputs.npz",
]


@dataclass(frozen=True)
class Plan:
    """How to train, prune and rewind.

    Attributes:
        recipe: the recipe of every round; in later rounds the schedule is advanced by ``rewind_epoch``.
        rounds: number of training rounds, the dense one included.
        rate: fraction of the remaining weights to prune before each round but the first.
        target: weights to rewind to: "lt" initial weights, "pt" best dense weights, "rewind_lt" those after
            ``rewind_epoch`` epochs.
        rewind_epoch: an epoch of round 0, see ``target`` and ``recipe``.
        score: name of the pruning score in ``pruner.scores``, one that needs no data.
        seed: seeds all random numbers of training and random pruning.
        label_smoothing: share of every label's weight that is spread over all classes.
        augmented_validation: choose the best epoch on cropped and flipped images, as the reference does.
    """

    recipe: Recipe
    rounds: int
    rate: float
    target: str
    rewind_epoch: int
    score: str
    seed: int
    augmented_validation: bool
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Files:
    """The files of a training, by the reference's names.

    Attributes:
        folder: the training's folder.
        stamp: entries of every checkpoint besides the reference's; ``fingerprint`` identifies the training.
        dense: folder of round 0's files, if several trainings share that round; None for ``folder``.
        every: epochs from one checkpoint to the next; a round's last epoch always has one.
    """

    folder: Path
    stamp: dict[str, Any]
    dense: Path | None = None
    every: int = 1

    def last(self, round_: int) -> Path:
        return self._home(round_) / f"{round_}checkpoint.pth.tar"

    def best(self, round_: int) -> Path:
        return self._home(round_) / f"{round_}model_SA_best.pth.tar"

    def _home(self, round_: int) -> Path:
        return self.dense if round_ == 0 and self.dense is not None else self.folder

    def rewind(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch}_rewind_weight.pt"

    def curves(self, round_: int) -> Path:
        return self.folder / f"{round_}net_train.png"


class Rounds:
    """Carries a model through a ``Plan``.

    Args:
        model: a new model on its device; trained in place.
        plan: how to train, prune and rewind.
        sets: "train", "val" and "test".
        files: where checkpoints are written.
        mask: boolean tensors by parameter name, True where a weight is kept, if the model was pruned before training;
            None for a dense model.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        sets: dict[str, Images],
        files: Files,
        log: Log,
        mask: pruner.Mask | None = None,
    ):
        self.model, self.plan, self.sets = model, plan, sets
        self.files, self.log = files, log
        self.at = Position(mask=mask or {})
        self._resumed: dict[str, Any] | None = None
        self._best: dict[str, Any] | None = None  # the best epoch's checkpoint, while it is not yet written
        self._from = files.folder
        if plan.target == "lt" or (plan.target == "rewind_lt" and plan.rewind_epoch == 0):
            self.at.rewind = checkpoints.pack(model, {})

    def resume(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Go on from a training checkpoint of this project or of the reference."""
        stored = position.stored_position(checkpoint)
        best, result, rewind = stored["best_sa"], stored["result"], stored["init_weight"]
        self.at = Position(stored["state"], checkpoint.mask, best, result, rewind, stored["rounds"])
        checkpoints.load_weights(self.model, checkpoint)
        self._resumed, self._from = stored, checkpoint.path

    def begin(self, checkpoint: checkpoints.Checkpoint, best: Mapping[int, checkpoints.Checkpoint]) -> None:
        """Go on from another run's checkpoint, and copy its best epochs to this run's folder.

        Args:
            best: checkpoints of the best epochs by round; see ``trainer.best_epochs``.
        """
        self.resume(checkpoint)
        for round_, each in best.items():
            own = checkpoint if round_ == self.at.round and not self._validates else each
            content = position.again(own, self.files.stamp)
            if content["epoch"] or round_ < self.at.round:
                checkpoints.write(content, self.files.best(round_))
        reached = best[self.at.round].extra["result"]["val_ta"][-1:] if best else []
        if reached and reached[0] < self.at.best_sa:
            name, self.at.best_sa = self.files.best(self.at.round).name, reached[0]
            self.log.line(
                f"warning: beside {checkpoint.path} is no {name} of its best epoch; the best is sought from epoch "
                f"{checkpoint.extra['epoch']} on"
            )

    @property
    def _validates(self) -> bool:
        """Whether there are validation images, by which the best epoch can be chosen."""
        return len(self.sets["val"]) > 0

    def run(self) -> list[dict[str, Any]]:
        """Train all remaining rounds; one summary per round, accuracies and density in [0, 1]."""
        if not self._validates:
            self.log.line("no validation images: the best epoch of a round is its last one")
        while True:
            if len(self.at.finished) <= self.at.round:
                self._train()
                self.at.finished.append(self._summary())
            if self.at.round + 1 >= self.plan.rounds:
                return self.at.finished
            self._prune_and_rewind()

    def _train(self) -> None:
        recipe = replace(self.plan.recipe, schedule_offset=self.plan.rewind_epoch if self.at.round else 0)
        training = Training(self.model, recipe, self.at.mask)
        if self._resumed is not None:
            position.restore_training(training, self._resumed, self._from)
            self._resumed = None
        phase = f"round {self.at.round}"
        self.log.line(f"{phase}: * remain weight ratio = {100 * pruner.density(self.at.mask):.4f} %")
        objective = Classification(label_smoothing=self.plan.label_smoothing).mean
        for done in training.run(self.sets["train"], seeds.derive(self.plan.seed, "round", self.at.round), objective):
            if self.at.round == 0 and done.epoch == self.plan.rewind_epoch:
                self._keep_rewind_weights()
            validation = self._validate(done)
            self.at.result["train_ta"].append(100 * done.figures["accuracy"])
            self.at.result["val_ta"].append(100 * validation)
            due = done.epoch % self.files.every == 0 or done.epoch == recipe.epochs
            with self.log.epoch(phase, recipe.epochs, done, val=validation):
                self._save(training, validation, due)
        if not (self.files.best(self.at.round).exists() and self.files.last(self.at.round).exists()):
            self._save(training)  # nothing was left to train
        title = f"{phase}, density {100 * pruner.density(self.at.mask):.2f} %"
        plots.training_curves(self.files.curves(self.at.round), self.at.result, title)

    def _keep_rewind_weights(self) -> None:
        weights = checkpoints.pack(self.model, {})
        checkpoints.write_weights(self.files.rewind(self.plan.rewind_epoch), weights)
        if self.plan.target == "rewind_lt":
            self.at.rewind = weights

    def _validate(self, done: EpochLog) -> float:
        val = self.sets["val"]
        seed = seeds.derive(self.plan.seed, "validation", self.at.round, done.epoch)
        try:
            return accuracy_on(self.model, val, seed if self.plan.augmented_validation else None)
        except DivergedError as error:
            raise DivergedError(
                f"{error} after epoch {done.epoch} at learning rate {done.lr:g}; try a smaller one"
            ) from error

    def _save(self, training: Training, validation: float | None = None, due: bool = True) -> None:
        """Write a checkpoint if one is due; before that, keep the best epoch's in memory."""
        reached = 100 * (validation or 0.0)
        known = self._best is not None or self.files.best(self.at.round).exists()
        better = reached > self.at.best_sa or not known or not self._validates
        self.at.best_sa = max(self.at.best_sa, reached)
        if not due and not better:
            return
        stamp = {**self.files.stamp, "rounds": self.at.finished}
        content = checkpoints.training_checkpoint(self.model, self.at, training.state(), stamp)
        if not due:
            self._best = copy.deepcopy(content)
            return
        if self._best is not None and not better:
            checkpoints.write(self._best, self.files.best(self.at.round))
        targets = [self.files.best(self.at.round)] if better else []
        checkpoints.write(content, *targets, self.files.last(self.at.round))
        self._best = None

    def _summary(self) -> dict[str, Any]:
        test = {"test": self.sets["test"]}
        last = predict(self.model, test)["test"].accuracy
        final = checkpoints.pack(self.model, {})
        best_file = self.files.best(self.at.round)
        checkpoints.load_weights(self.model, checkpoints.read(best_file, "checkpoint"))
        best = predict(self.model, test)["test"].accuracy
        self.model.load_state_dict(final)
        summary: dict[str, Any] = {
            "round": self.at.round,
            "density": pruner.density(self.at.mask),
            "best_val": self.at.best_sa / 100,
        }
        summary |= {"test_of_best": best, "test_of_last": last, "best": best_file.name}
        summary["last"] = self.files.last(self.at.round).name
        self.log.record("round", **summary)
        return summary

    def _prune_and_rewind(self) -> None:
        sample = pruner.Sample(seeds.derive(self.plan.seed, "round", self.at.round))
        mask = pruner.prune(self.model, self.plan.score, self.plan.rate, sample, self.at.mask)
        passage.warn(self.model, mask, self.sets["train"], self.log)
        if self.plan.target == "pt":
            checkpoints.load_weights(self.model, checkpoints.read(self.files.best(0), "checkpoint"))
        else:
            self.model.load_state_dict(self.at.rewind or {})
        self._resumed = None
        self.at = Position(self.at.round + 1, mask, rewind=self.at.rewind, finished=self.at.finished)


def latest(files: Files, rounds: int, model: nn.Module) -> checkpoints.Checkpoint | None:
    """The last checkpoint that an earlier start of this run has left; None if there is none."""
    for round_ in reversed(range(rounds)):
        if files.last(round_).exists():
            checkpoint = checkpoints.read(files.last(round_), "checkpoint", model=model)
            if checkpoint.extra.get("fingerprint") == files.stamp["fingerprint"]:
                return checkpoint
    return None
