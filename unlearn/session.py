"""One method's run in a folder: writes its files, and goes on from them after a kill."""

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
    """The folder of a finished run's model: that of its result, or the run's folder if only the result was moved.

    Args:
        flag: the flag for which the model is needed, for errors.
    Raises:
        UsageError: the model's file is missing or belongs to another run.
    """
    name = setup.method.outputs[3 if setup.adapters is not None and setup.adapters.stored_separately else 0]
    place = folder.home if (folder.home / name).exists() else folder.path
    with renamed({"--save_outputs": flag}):
        margins.check_own(place / name, setup.fingerprint)
    return place


class Session:
    """Runs a method, and stores the unlearned model and its scores under the reference's file names.

    Args:
        setup: the run.
        folder: the run's folder.
        stamp: entries of the model's file besides the reference's.
        path: folder of the files; None for ``folder``.
    Attributes:
        progress: the file from which a killed run goes on.
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
        """Unlearn, or load the stored model if an earlier start of this run, or ``--resume``, provides one.

        Args:
            model: the model that the method starts from. If a stored model is loaded, its weights are replaced.
            sets: "retain", "forget" and "val".
            evaluation: scores to store with the model; None before it is scored.
        Returns:
            The unlearned model; ``seconds`` is None if the time of a stored model is not known.
        """
        state = self.progress.state or {}
        done = state.get("phase") == "done"
        if done or self._setup.keep_files:  # then the model in the folder is used, whatever run wrote it
            stored = self.stored(model, context)
            if stored is not None:
                return replace(stored, seconds=state["seconds"] if done else None)
        unlearned = apply(self._setup.method, model, sets, self._setup.hyper, context)
        self.save(unlearned, evaluation)
        self.progress.save(phase="done", seconds=unlearned.seconds)
        return unlearned

    def stored(self, model: nn.Module, context: Context, flag: str = "--resume") -> Unlearned | None:
        """Load the stored model, without ``seconds``, which its file does not record; None if there is none.

        Args:
            model: the model that the method starts from; its weights are replaced.
            flag: the flag for which the model is read, for errors.
        Raises:
            UsageError: the file is damaged, or belongs to another architecture or forget set.
        """
        adapters = context.adapters
        if adapters is not None and adapters.stored_separately:
            if not self._base.exists():
                return None
            return Unlearned(self._put_together(model, adapters, context, flag), context.mask, None)
        if not self._model.exists():
            return None
        checkpoint = checkpoints.read(self._model, flag, self._setup.run.allow_pickle, model)
        if context.compat == "reference":  # boundary expanding then keeps its new class
            models.widen_to(model, checkpoint.weights)
        checkpoints.check_fits(checkpoint, model, self._setup.arch, flag)
        self._check_sets(checkpoint, flag)
        checkpoints.load_weights(model, checkpoint)
        context.log.line(f"Load checkpoint from: {self._model}")
        return Unlearned(model, checkpoint.mask, None)

    def _check_sets(self, checkpoint: checkpoints.Checkpoint, flag: str) -> None:
        """Refuse a model that forgot other images; files of the reference do not record which, and are accepted."""
        for mark, sets in (("forget_digest", "retain and forget sets"), ("poison_digest", "poisoned images")):
            made, own = checkpoint.extra.get(mark), self._stamp.get(mark)
            if None not in (made, own) and made != own and not self._setup.allow_mismatch:
                raise UsageError(
                    f"{flag} {checkpoint.path}: was unlearned with {sets} of digest {made}, this run's are of {own}; "
                    "give the scenario and seeds of that run, leave --resume out, or give --allow_split_mismatch"
                )

    def _put_together(self, model: nn.Module, adapters: lora.Plan, context: Context, flag: str) -> nn.Module:
        """Load the stored frozen model and its adapters."""
        base = checkpoints.read(self._base, flag, self._setup.run.allow_pickle, model)
        checkpoints.check_fits(base, model, self._setup.arch, flag)
        self._check_sets(base, flag)
        checkpoints.load_weights(model, base)
        context.log.line(f"Load checkpoint from: {self._base} and {self._adapter}")
        return lora.read(model, adapters, self._adapter, flag)

    def save(self, unlearned: Unlearned, evaluation: dict[str, Any] | None) -> None:
        """Write the unlearned model and its scores; adapters and frozen model are written separately."""
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
        """Write the file of scores only."""
        checkpoints.write(evaluation or {}, self._evaluation)
