"""Find the best epochs of a stored training, to be copied by a run that continues it in another folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer import position
from trainer.checkpoints import Checkpoint
from trainer.network import Network
from trainer.training_flags import Prune, PruneAtStart
from utils.errors import UsageError


def beside(checkpoint: Checkpoint, network: Network, prune: Prune | PruneAtStart) -> dict[int, Checkpoint]:
    """The best epochs, by round, that a run needs to go on from a checkpoint, read from files beside it.

    Args:
        checkpoint: a training checkpoint to go on from.
        network: the architecture that the files must fit.
        prune: the run's flags of pruning.
    Returns:
        The best epoch of the checkpoint's round; the checkpoint itself if no file beside it holds that epoch. Also
        that of round 0 if pruning will rewind to the best dense weights.
    Raises:
        UsageError: pruning will rewind to the best dense weights, and their file is not beside the checkpoint.
    """
    round_, own = checkpoint.extra["state"], checkpoint.extra
    found = _read(checkpoint, round_, network)
    best = {round_: found if found is not None and _is_best(found.extra, own) else checkpoint}
    back_to_best = isinstance(prune, Prune) and prune.back_to is None and prune.pruning_times > round_ + 1
    if back_to_best and round_ > 0:
        dense = _read(checkpoint, 0, network)
        if dense is None or dense.extra.get("fingerprint") != own.get("fingerprint"):
            raise UsageError(
                f"--prune_type pt: --checkpoint {checkpoint.path} is of round {round_}; {_file(checkpoint, 0).name} "
                "of the same training is not beside it, put it there, or give another --prune_type"
            )
        best[0] = dense
    return best


def _file(checkpoint: Checkpoint, round_: int) -> Path:
    return checkpoint.path.parent / f"{round_}model_SA_best.pth.tar"


def _read(checkpoint: Checkpoint, round_: int, network: Network) -> Checkpoint | None:
    """The best epoch of a round beside a checkpoint; None if there is no such file for this network."""
    try:
        found = network.read(str(_file(checkpoint, round_)), "--checkpoint")
        position.check_position(found, network.fresh)
    except UsageError:
        return None
    return found if found.extra["state"] == round_ else None


def _is_best(best: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Whether epoch ``best`` belongs to the training of epoch ``last``, is not later, and has its best accuracy."""
    curve = best["result"]["val_ta"]
    earlier = curve == last["result"]["val_ta"][: len(curve)]
    return bool(curve) and earlier and curve[-1] == best["best_sa"] == last["best_sa"]
