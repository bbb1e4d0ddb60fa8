"""Continue a stored training: what a checkpoint must hold for this, and how its state is restored."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer import checkpoints
from trainer.checkpoints import Checkpoint
from trainer.loop import Training
from trainer.training_flags import Prune, PruneAtStart, Train
from utils.errors import UsageError
from utils.torch_files import check_tensors

OWN_KEY = {"sgd": "momentum", "adam": "betas", "adamw": "betas"}  # entry of the groups that identifies an optimiser


def stored_position(checkpoint: Checkpoint) -> dict[str, Any]:
    """The checked entries of a training checkpoint, with this project's own filled in if the file lacks them.

    Returns:
        All entries besides the weights: those of ``POSITION`` and ``rounds`` in any case.
    Raises:
        UsageError: it is not a training checkpoint.
    """
    flag = f"--checkpoint {checkpoint.path}"
    missing = [key for key in POSITION if key not in checkpoint.extra]
    if missing:
        raise UsageError(f"{flag}: is no training checkpoint ({missing[0]} is missing)")
    stored = {"rounds": [], **checkpoint.extra}
    wrong = [key for key, sound in POSITION.items() if not sound(stored[key])]
    if wrong or not all(_is_summary(summary) for summary in stored["rounds"]):
        raise UsageError(
            f"{flag}: is no training checkpoint ({wrong[0] if wrong else 'rounds'} is not what it should be)"
        )
    # A file of another tool may hold numbers of numpy's, which need pickle.
    curves = {key: [float(value) for value in values] for key, values in stored["result"].items()}
    return {**stored, "best_sa": float(stored["best_sa"]), "result": curves}


def again(checkpoint: Checkpoint, stamp: dict[str, Any]) -> dict[str, Any]:
    """The content of a training checkpoint, to be written as another run's.

    Optimiser and schedule of a file of other code are left out, because they may need pickle.

    Args:
        stamp: the other run's entries besides the reference's.
    """
    stored = stored_position(checkpoint)
    if "fingerprint" not in stored:
        stored |= {"optimizer": {}, "scheduler": {}}
    best, result, rewind = stored["best_sa"], stored["result"], stored["init_weight"]
    at = checkpoints.Position(stored["state"], checkpoint.mask, best, result, rewind)
    return checkpoints.training_checkpoint(checkpoint.weights, at, stored, {**stamp, "rounds": stored["rounds"]})


def check_position(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Refuse a file from which training cannot go on.

    Raises:
        UsageError: it is no training checkpoint, or its weights to rewind to are not those of this model.
    """
    rewind, flag = stored_position(checkpoint)["init_weight"], f"--checkpoint {checkpoint.path}: init_weight"
    if rewind is None:
        return
    check_tensors(rewind, flag, model)
    expected, stored = ({key: value.shape for key, value in state.items()} for state in (model.state_dict(), rewind))
    wrong = [key for key in (*expected, *stored) if expected.get(key) != stored.get(key)]
    if wrong:
        raise UsageError(f"{flag}: is of another model (first: {wrong[0]})")


def check_target(checkpoint: Checkpoint, prune: Prune | PruneAtStart) -> None:
    """Refuse a file that lacks the weights to which pruning would rewind, or holds those of another epoch.

    Raises:
        UsageError: names the flags that fit the file.
    """
    if isinstance(prune, PruneAtStart) or not _goes_back_to_stored(checkpoint, prune):
        return
    flag, held = f"--checkpoint {checkpoint.path}", _epoch_of_target(checkpoint)
    if checkpoint.extra["init_weight"] is None:
        raise UsageError(
            f"{flag}: holds no weights to go back to after pruning; give --prune_type pt, or begin without --resume"
        )
    if held is not None and held != prune.back_to:
        kind = "" if prune.prune_type == "rewind_lt" else "--prune_type rewind_lt "
        raise UsageError(
            f"{flag}: would go back to {_weights(held)}, not to {_weights(prune.back_to)}; "
            f"give {kind}--rewind_epoch {held}, or begin without --resume"
        )


def check_mask(checkpoint: Checkpoint, prune: Prune | PruneAtStart) -> None:
    """Refuse flags of pruning before training that differ from those with which the file's mask was made.

    Raises:
        UsageError: names the first such flag.
    """
    made = _stored_prune(checkpoint)
    if not isinstance(prune, PruneAtStart) or not made:
        return
    if "score" not in made:
        reason = "was not pruned before training; go on with main_imp.py, or begin without --resume"
        raise UsageError(f"--checkpoint {checkpoint.path}: {reason}")
    for name, value in vars(prune).items():
        if made.get(name) != value:
            held = "it was made without it; leave it out" if made.get(name) is None else f"give --{name} {made[name]}"
            raise UsageError(
                f"--{name} {value}: is not how the mask of --checkpoint {checkpoint.path} was made; {held}, "
                "or begin without --resume"
            )


def warn_of_target(checkpoint: Checkpoint, prune: Prune | PruneAtStart) -> None:
    """Print a warning if pruning will rewind to stored weights whose epoch the file does not record."""
    if isinstance(prune, PruneAtStart) or not _goes_back_to_stored(checkpoint, prune):
        return
    if _epoch_of_target(checkpoint) is None:
        text = f"{checkpoint.path} does not say of which epoch its init_weight is; taken for {_weights(prune.back_to)}"
        print(f"warning: {text}", file=sys.stderr)


def _goes_back_to_stored(checkpoint: Checkpoint, prune: Prune) -> bool:
    """Whether pruning will rewind to the file's ``init_weight``, and not to weights of an epoch still to come."""
    stored, epoch = checkpoint.extra, prune.back_to
    if epoch is None or prune.pruning_times <= stored["state"] + 1:
        return False
    return stored["state"] > 0 or stored["epoch"] >= epoch


def _epoch_of_target(checkpoint: Checkpoint) -> Any:
    """The epoch of the file's ``init_weight``, 0 for the initial weights; None if the file does not say."""
    prune = _stored_prune(checkpoint)
    if not prune or prune.get("prune_type") == "pt":
        return None
    return prune.get("rewind_epoch") if prune.get("prune_type") == "rewind_lt" else 0


def _stored_prune(checkpoint: Checkpoint) -> dict[str, Any]:
    """The flags of pruning that the file was made with; empty if it does not say."""
    prune = checkpoint.extra.get("recipe", {}).get("prune")
    return prune if isinstance(prune, dict) else {}


def _weights(epoch: Any) -> str:
    return f"the weights after epoch {epoch}" if epoch else "the initial weights"


def check_optimizer(checkpoint: Checkpoint, train: Train) -> None:
    """Refuse to go on with another optimiser than the file's, whose moments could not be used.

    Raises:
        UsageError: epochs of the round are left, and another optimiser took those before.
    """
    stored = stored_position(checkpoint)
    groups = stored["optimizer"].get("param_groups")
    if stored["epoch"] < train.epochs and not _stepped_by(train.optimizer, groups):
        raise UsageError(
            f"--optimizer {train.optimizer}: --checkpoint {checkpoint.path} was trained by another one; give that, "
            "or begin without --resume"
        )


def _stepped_by(optimizer: str, groups: Any) -> bool:
    return isinstance(groups, list) and all(isinstance(each, Mapping) and OWN_KEY[optimizer] in each for each in groups)


def restore_training(training: Training, stored: dict[str, Any], path: Path) -> None:
    """Restore epoch and moments of a stored training; step sizes follow from the training's own recipe.

    Args:
        stored: result of ``stored_position``.
        path: the file, for errors.
    Raises:
        UsageError: the file's optimiser or schedule does not fit this training.
    """
    own, recipe = training.schedule.state(), training.recipe
    try:
        # Loading other keys would replace the scheduler's methods.
        schedule = {key: value for key, value in stored["scheduler"].items() if key in own["scheduler"]}
        known, groups = own["optimizer"]["param_groups"], stored["optimizer"]["param_groups"]
        used = [{key: value for key, value in group.items() if key in keys} for group, keys in zip(groups, known)]
        alike = _alike(schedule, own["scheduler"]) and _alike(used, known)
        if "last_epoch" not in schedule or len(used) < len(groups) or not alike:
            raise ValueError("an entry of another type")
        training.schedule.advance(min(stored["epoch"], recipe.epochs))
        state = training.schedule.state()
        state["optimizer"]["param_groups"] = [
            {**now, "params": group["params"]} for now, group in zip(state["optimizer"]["param_groups"], used)
        ]
        if _stepped_by(recipe.optimizer, groups):
            state["optimizer"]["state"] = stored["optimizer"]["state"]
        elif stored["epoch"] < recipe.epochs:
            raise ValueError("moments of another optimizer")
        training.restore({**stored, **state})
        _check_moments(training.optimizer)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError) as error:
        raise UsageError(
            f"--checkpoint {path}: its optimizer or scheduler is not one of such a training ({type(error).__name__}: "
            f"{error})"
        ) from error


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    for parameter, state in optimizer.state.items():
        for value in state.values():
            if isinstance(value, Tensor) and (
                value.numel() > 1 and value.shape != parameter.shape or not bool(torch.isfinite(value).all())
            ):
                raise ValueError("a moment of another shape, NaN or infinite")


def _alike(stored: Any, own: Any) -> bool:
    """Whether a stored value has the type of our own; a bool and None may replace each other."""
    if isinstance(own, Mapping):
        return isinstance(stored, Mapping) and all(
            _alike(stored[key], own[key]) if key in own else _number(stored[key]) for key in stored
        )
    if isinstance(own, (list, tuple)):
        alike = isinstance(stored, (list, tuple)) and bool(own) and all(_alike(value, own[0]) for value in stored)
        return alike or not own and stored is not None
    if own is None or isinstance(own, bool):
        return stored is None or isinstance(stored, bool)
    return _number(stored) if isinstance(own, (int, float)) else type(stored) is type(own)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _curves(value: Any) -> bool:
    if not isinstance(value, dict) or not {"train_ta", "val_ta"} <= value.keys():
        return False
    return all(isinstance(v, list) and all(map(_number, v)) for v in value.values())


def _is_summary(value: Any) -> bool:
    if not isinstance(value, dict) or not _count(value.get("round")) or not isinstance(value.get("best"), str):
        return False
    return all(_number(value.get(key)) for key in ("density", "best_val", "test_of_best", "test_of_last"))


def _weights_or_none(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value is None
    return all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


POSITION: dict[str, Callable[[Any], bool]] = {  # entries that a training checkpoint must hold, with a check of each
    "state": _count,
    "result": _curves,
    "epoch": _count,
    "best_sa": lambda value: _number(value) and value >= 0,
    "optimizer": lambda value: isinstance(value, dict),
    "scheduler": lambda value: isinstance(value, dict),
    "init_weight": _weights_or_none,
}
