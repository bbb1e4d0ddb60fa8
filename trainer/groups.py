"""Several runs of a script in one process, with their networks computed as one. Imports torch only when needed.

Every run keeps its own folder, log, checkpoints and result, and within rounding gives the result that it gives alone.
A run that is killed goes on from its own last epoch, alone or with others.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from trainer.pipeline import Script
from utils import lanes, parallel, preempt
from utils.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trainer.setup import Setup

MOST = 16  # models at once; with more, what each model computes by itself takes most of the time
PIXELS = 2**13  # most pixels of a batch for which a CPU is faster with several models at once
WIDEST = 64  # most channels likewise; wider convolutions leave its cache, or use Winograd when computed alone
SPARE = 2  # 1 / SPARE of the free memory is used
TRIED = 2  # images to measure the memory per image


def run_together(
    script: Script,
    commands: Sequence[Sequence[str]],
    max_models: int | None = None,
    outputs: Sequence[TextIO | None] | None = None,
) -> list[int]:
    """Run a script by several command lines at once.

    The runs should differ only in seeds, splits and numeric settings, since steps that are not alike are taken one by
    one.

    Args:
        commands: the words of each command line.
        max_models: number of models computed at once; None for as many as are faster and fit into memory.
        outputs: a stream for each run to print to; None for this process's own.
    Returns:
        The exit code of each.
    Raises:
        UsageError: the runs have unlike architectures, or several processes share each run.
    """
    from trainer.together import Together

    if parallel.size() > 1:
        raise UsageError("--models_at_once: several processes work on each run; leave it out under torchrun")
    setups = [setup for words in commands if (setup := _setup(script, words)) is not None]
    check(setups)
    size = max_models or (how_many(setups[0]) if setups else 1)
    streams = outputs or [None] * len(commands)
    runs = [lanes.Lane(functools.partial(script.main, list(words)), out) for words, out in zip(commands, streams)]
    with preempt.listening() as outermost:
        try:
            for start in range(0, len(runs), size):
                lanes.run(runs[start : start + size], Together(size))
        except preempt.Preempted:
            if not outermost:
                raise
    return [_code(lane) for lane in runs]


def check(setups: Sequence[Setup]) -> None:
    """Refuse runs whose models cannot be computed as one.

    Raises:
        UsageError: they have unlike architectures.
    """
    from models.stacked import check_alike

    for setup in setups[1:]:
        if setup.arch != setups[0].arch:
            raise UsageError(f"--models_at_once: {setups[0].arch} and {setup.arch} cannot be computed as one")
    if setups:
        check_alike([setup.network.fresh for setup in setups])


def how_many_of(script: Script, argv: Sequence[str]) -> int:
    """``how_many`` for the run of a command line; 1 if the command line is refused."""
    setup = _setup(script, argv)
    return 1 if setup is None else how_many(setup)


def how_many(setup: Setup) -> int:
    """How many runs like this one to compute at once: as many as are faster than one by one and fit into memory."""
    from models.stacked import fits
    from utils.device import compiling, free_memory

    stepping = getattr(setup, "hyper", None) or getattr(setup, "train", None)
    batch, side, model = getattr(stepping, "batch_size", None), setup.dataset.side, setup.network.fresh
    if batch is None or compiling() or getattr(stepping, "sam_rho", None) or not fits(model):
        return 1
    if setup.device.type == "cpu" and not _pays(model, batch * side**2):
        return 1
    room = free_memory(setup.device)
    if room is None:
        return MOST
    return max(1, min(MOST, room // SPARE // memory_of_one(model, batch, side)))


def _pays(model: nn.Module, pixels: int) -> bool:
    """Whether a CPU is faster with several models at once than one by one, with ``pixels`` pixels in a batch."""
    filters = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    return pixels <= PIXELS and all(max(weight.shape[:2]) <= WIDEST for weight in filters)


def memory_of_one(model: nn.Module, batch: int, side: int) -> int:
    """Estimated bytes of memory that one model takes in a step of several.

    The estimate counts parameters, gradients and momentum, the parameters once more while they are joined, and twice
    what the forward pass keeps for the backward pass, since the gradients of it are as large.

    Args:
        model: a model on the CPU; not changed.
        batch: number of images in a batch.
        side: side of the images in pixels.
    """
    import torch

    sizes: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    copied = _trained(model)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = copied(torch.zeros(TRIED, 3, side, side))
    weights = [tensor.untyped_storage() for tensor in (*copied.parameters(), *copied.buffers())]
    for storage in weights:
        sizes.pop(storage.data_ptr(), None)
    del outputs
    return 4 * sum(storage.nbytes() for storage in weights) + 2 * sum(sizes.values()) * batch // TRIED


def _trained(model: nn.Module) -> nn.Module:
    import copy

    return copy.deepcopy(model).train()


def _setup(script: Script, argv: Sequence[str]) -> Setup | None:
    """The ``Setup`` of a command line; None if it is refused, for which its own run will print the error."""
    try:
        return script.stages.setup(script.parse(list(argv)))
    except UsageError:
        return None


def _code(lane: lanes.Lane) -> int:
    """The exit code of a run; prints the traceback of one that failed unexpectedly."""
    if not lane.over or isinstance(lane.error, preempt.Preempted):
        return preempt.RESUMABLE
    if lane.error is None:
        return lane.result
    traceback.print_exception(lane.error, file=lane.output or sys.stderr)
    return 1
