"""One method's run in a folder: its files, and how a killed run goes on from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

import models
from dataset.images import Images
from trainer import checkpoints, margins
from unlearn import lora
from unlearn.apply import Unlearned, apply
from unlearn.context import Context, Progress
from utils.errors import UsageError, renamed
from utils.run_folder import RunFolder

if TYPE_CHECKING:
    from unlearn.unlearn_setup import ForgetSetup, UnlearnSetup


def own_folder(setup: ForgetSetup, folder: RunFolder, flag: str) -> Path:
    """Where the model of a finished run is: beside its result, or still in its folder if only the result was moved.

    Raises:
        UsageError: the model's file is gone, or another run's; begins with ``flag``, why it is read.
    """
    name = setup.method.outputs[3 if setup.adapters is not None and setup.adapters.stored_separately else 0]
    place = folder.home if (folder.home / name).exists() else folder.path
    with renamed({"--save_outputs": flag}):
        margins.check_own(place / name, setup.fingerprint)
    return place


class Session:
    """Keeps the unlearned model and its evaluation under the reference's names.

    Args:
        stamp: entries that the model's file carries besides the reference's.
        place: where the files are; the folder itself without it.
    """

    def __init__(self, setup: UnlearnSetup, folder: RunFolder, stamp: dict[str, Any], path: Path | None = None):
        self._setup, self._stamp = setup, {"fingerprint": folder.fingerprint, **stamp}
        self._model, self._evaluation, progress, self._base, self._adapter = (
            (path or folder.path) / name for name in setup.method.outputs
        )
        self.progress = Progress(progress, folder.fingerprint)

    def run(
        self, model: nn.Module, sets: dict[str, Images], context: Context, evaluation: dict[str, Any] | None = None
    ) -> Unlearned:
        """Unlearn, or take the stored model if this run got so far before; its seconds are None if they are not known.

        Args:
            model: where the method starts; it becomes the stored model if that is taken.
            evaluation: what is known before the unlearned model is scored.
        """
        state = self.progress.state or {}
        done = state.get("phase") == "done"
        if done or self._setup.keep_files:  # the model in the folder is wanted, wherever it comes from
            stored = self.stored(model, context)
            if stored is not None:
                return replace(stored, seconds=state["seconds"] if done else None)
        unlearned = apply(self._setup.method, model, sets, self._setup.hyper, context)
        self.save(unlearned, evaluation)
        self.progress.save(phase="done", seconds=unlearned.seconds)
        return unlearned

    def stored(self, model: nn.Module, context: Context, flag: str = "--resume") -> Unlearned | None:
        """The stored model, of which nobody says how long it took; None if there is none.

        Args:
            model: where the method starts; it becomes the stored model.
            flag: why it is read, for errors.
        """
        adapters = context.adapters
        if adapters is not None and adapters.stored_separately:
            if not self._base.exists():
                return None
            return Unlearned(self._put_together(model, adapters, context), context.mask, None)
        if not self._model.exists():
            return None
        checkpoint = checkpoints.read(self._model, flag, self._setup.run.allow_pickle, model)
        if context.compat == "reference":  # where boundary expanding keeps its new class
            models.widen_to(model, checkpoint.weights)
        checkpoints.check_fits(checkpoint, model, self._setup.arch, flag)
        self._check_sets(checkpoint, flag)
        checkpoints.load_weights(model, checkpoint)
        context.log.line(f"Load checkpoint from: {self._model}")
        return Unlearned(model, checkpoint.mask, None)

    def _check_sets(self, checkpoint: checkpoints.Checkpoint, flag: str) -> None:
        """Refuse a model that forgot other images; a file of the reference does not say which."""
        for mark, sets in (("forget_digest", "retain and forget sets"), ("poison_digest", "poisoned images")):
            made, own = checkpoint.extra.get(mark), self._stamp.get(mark)
            if None not in (made, own) and made != own and not self._setup.allow_mismatch:
                raise UsageError(
                    f"{flag} {checkpoint.path}: was unlearned with {sets} of digest {made}, this run's are of {own}; "
                    "give the scenario and seeds of that run, leave --resume out, or give --allow_split_mismatch"
                )

    def _put_together(self, model: nn.Module, adapters: lora.Plan, context: Context) -> nn.Module:
        """The stored frozen model with its stored adapters."""
        base = checkpoints.read(self._base, "--resume", self._setup.run.allow_pickle, model)
        checkpoints.check_fits(base, model, self._setup.arch, "--resume")
        self._check_sets(base, "--resume")
        checkpoints.load_weights(model, base)
        context.log.line(f"Load checkpoint from: {self._base} and {self._adapter}")
        return lora.read(model, adapters, self._adapter)

    def save(self, unlearned: Unlearned, evaluation: dict[str, Any] | None) -> None:
        """Write the unlearned model and its evaluation; adapters and the frozen model each by itself."""
        if lora.is_adapted(unlearned.model):
            lora.write(unlearned.model, self._adapter)
            frozen = checkpoints.frozen_checkpoint(
                lora.base_state(unlearned.model), unlearned.mask, self._adapter.name, self._stamp
            )
            checkpoints.write(frozen, self._base)
        else:
            content = checkpoints.unlearned_checkpoint(unlearned.model, unlearned.mask, evaluation, self._stamp)
            checkpoints.write(content, self._model)
        self.save_evaluation(evaluation)

    def save_evaluation(self, evaluation: dict[str, Any] | None) -> None:
        """Write the evaluation alone."""
        checkpoints.write(evaluation or {}, self._evaluation)
