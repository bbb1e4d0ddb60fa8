"""One method's run in a folder: its files, and how a killed run goes on from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

import models
from dataset.images import Images
from trainer import checkpoints
from unlearn import lora
from unlearn.apply import Unlearned, apply
from unlearn.context import Context, Progress
from utils.run_folder import RunFolder

if TYPE_CHECKING:
    from unlearn.unlearn_setup import UnlearnSetup


class Session:
    """Keeps the unlearned model and its evaluation under the reference's names.

    Args:
        stamp: entries that the model's file carries besides the reference's.
    """

    def __init__(self, setup: UnlearnSetup, folder: RunFolder, stamp: dict[str, Any]):
        self._setup, self._stamp = setup, {"fingerprint": folder.fingerprint, **stamp}
        self._model, self._evaluation, progress, self._base, self._adapter = (
            folder.path / name for name in setup.method.outputs
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
        stored = self._setup.keep_files  # the model in the folder is wanted, wherever it comes from
        state = self.progress.state or {}
        done = state.get("phase") == "done"
        seconds = state["seconds"] if done else None
        separate = context.adapters if context.adapters is not None and context.adapters.stored_separately else None
        if (done or stored) and separate is not None and self._base.exists():
            return Unlearned(self._put_together(model, separate, context), context.mask, seconds)
        if (done or stored) and separate is None and self._model.exists():
            found = checkpoints.read(self._model, "--resume", self._setup.run.allow_pickle, model)
            if context.compat == "reference":  # where boundary expanding keeps its new class
                models.widen_to(model, found.weights)
            checkpoints.check_fits(found, model, self._setup.arch, "--resume")
            checkpoints.load_weights(model, found)
            context.log.line(f"Load checkpoint from: {self._model}")
            return Unlearned(model, found.mask, seconds)
        unlearned = apply(self._setup.method, model, sets, self._setup.hyper, context)
        self.save(unlearned, evaluation)
        self.progress.save(phase="done", seconds=unlearned.seconds)
        return unlearned

    def _put_together(self, model: nn.Module, adapters: lora.Plan, context: Context) -> nn.Module:
        """The stored frozen model with its stored adapters."""
        found = checkpoints.read(self._base, "--resume", self._setup.run.allow_pickle, model)
        checkpoints.check_fits(found, model, self._setup.arch, "--resume")
        checkpoints.load_weights(model, found)
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
