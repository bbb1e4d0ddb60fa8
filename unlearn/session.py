"""One method's run in a folder: its files, and how a killed run goes on from them."""
from __future__ import annotations

from typing import Any

from torch import nn

import models
from dataset.images import Images
from unlearn.apply import Unlearned, apply
from unlearn.context import Context, Progress
from unlearn.registry import Method
from utils import checkpoints, files
from utils.run_folder import RunFolder


def outputs(method: Method) -> list[str]:
    """The files that a run of the method writes; the last only while it runs."""
    return [f"{method.name}{kind}.pth.tar" for kind in ("checkpoint", "eval_result", "progress")]


def clear(method: Method, folder: RunFolder) -> None:
    """Delete what a killed run would go on from: the run is complete, now or since it was killed just before this."""
    files.remove(folder.path / outputs(method)[-1])


class Session:
    """Keeps the unlearned model and its evaluation under the reference's names.

    Args:
        stamp: entries that the model's file carries besides the reference's.
    """

    def __init__(self, method: Method, folder: RunFolder, stamp: dict[str, Any]):
        self._method, self._stamp = method, {"fingerprint": folder.fingerprint, **stamp}
        self._model, self._evaluation, progress = (folder.path / name for name in outputs(method))
        self.progress = Progress(progress, folder.fingerprint)

    def run(
        self, model: nn.Module, sets: dict[str, Images], config: Any, context: Context, arch: str, stored: bool = False,
        allow_pickle: bool = False, evaluation: dict[str, Any] | None = None,
    ) -> Unlearned:
        """Unlearn, or take the stored model if this run got so far before; its seconds are None if they are not known.

        Args:
            model: where the method starts; it becomes the stored model if that is taken.
            stored: take the model in the folder, wherever it comes from.
            evaluation: what is known before the unlearned model is scored.
        """
        done = self.progress.state is not None and self.progress.state["phase"] == "done"
        if (done or stored) and self._model.exists():
            found = checkpoints.read(self._model, "--resume", allow_pickle, model)
            if context.compat == "reference":  # where boundary expanding keeps its new class
                models.widen_to(model, found.weights)
            checkpoints.check_fits(found, model, arch, "--resume")
            checkpoints.load_weights(model, found)
            context.log.line(f"Load checkpoint from: {self._model}")
            return Unlearned(model, found.mask, self.progress.state["seconds"] if done else None)
        unlearned = apply(self._method, model, sets, config, context)
        self.save(unlearned, evaluation)
        self.progress.save(phase="done", seconds=unlearned.seconds)
        return unlearned

    def save(self, unlearned: Unlearned, evaluation: dict[str, Any] | None) -> None:
        """Write the unlearned model and its evaluation."""
        content = checkpoints.unlearned_checkpoint(unlearned.model, unlearned.mask, evaluation, self._stamp)
        checkpoints.write(content, self._model)
        self.save_evaluation(evaluation)

    def save_evaluation(self, evaluation: dict[str, Any] | None) -> None:
        """Write the evaluation alone."""
        checkpoints.write(evaluation or {}, self._evaluation)
