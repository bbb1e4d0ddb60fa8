"""The one place that knows what a checkpoint file holds.

A checkpoint is a dict in the reference's layout (``state_dict`` with ``weight_orig`` and
``weight_mask`` for pruned layers) or a bare state dict. Everything written here is tensors and
plain Python values, so ``torch.load`` opens it with its safe default.
"""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import models
from pruner import Mask
from trainer import origin
from utils import files, foreign, torch_files
from utils.errors import UsageError

ORIGINAL, MASK = "_orig", torch_files.MASK
OWN_BEFORE = ("arch", "dataset", "compat")  # entries of older files, now part of ``origin``
OWN = {  # types of this project's own entries
    **dict.fromkeys(("split_digest", "forget_digest", "unlearn"), (str,)),
    **dict.fromkeys(("poison_digest", "poison", "trained", "fingerprint"), (str,)),
    **dict.fromkeys(("recipe", "origin"), (dict,)),
    "rounds": (list,),
    "split_seed": (int, type(None)),
    "seconds": (float, int, type(None)),
}


@dataclass
class Position:
    """How far a training has come: stored after every epoch, beside weights and optimiser.

    Attributes:
        round: the present round, from 0 (dense).
        mask: boolean tensors by parameter name, True where a weight is kept; empty for a dense model.
        best_sa: best validation accuracy of the round, in per cent as in the reference's files.
        result: accuracies after each epoch, in per cent: "train_ta", "val_ta" and "test_ta".
        rewind: state dict of the weights that pruning rewinds to; None if there is none yet.
        finished: summaries of the rounds that are finished.
    """

    round: int = 0
    mask: Mask = field(default_factory=dict)
    best_sa: float = 0.0
    result: dict[str, list[float]] = field(default_factory=lambda: {"train_ta": [], "test_ta": [], "val_ta": []})
    rewind: dict[str, Any] | None = None
    finished: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """What a file held: weights with the mask applied, the mask, and the remaining entries.

    Attributes:
        weights: parameters and buffers by plain name; empty if the file holds masks only.
        mask: boolean tensors by parameter name, True where a weight is kept; empty for a dense model.
        extra: every other entry of the file (``epoch``, ``optimizer``, ``split_digest``, ...).
        notes: what was renamed or left out, a phrase each.
    """

    path: Path
    weights: dict[str, Tensor]
    mask: Mask
    extra: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        return files.sha256(self.path)


def pack(
    model: nn.Module | Mapping[str, Tensor], mask: Mask, leave_out: Collection[str] = ()
) -> OrderedDict[str, Tensor]:
    """The model's state dict as the reference stores it: pruned weights as ``X.weight_orig`` and ``X.weight_mask``.

    The pair follows the other entries of its layer, in the order of the reference's files. Tensors are contiguous
    copies on the CPU; masks are float32 of 0 and 1.

    Args:
        model: a model or its state dict.
        mask: boolean tensors by parameter name, True where a weight is kept; empty for a dense model.
        leave_out: names of entries to leave out.
    """
    entries = model.state_dict() if isinstance(model, nn.Module) else model
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in entries.items()
        if key not in leave_out
    }
    packed: OrderedDict[str, Tensor] = OrderedDict()
    pending: list[str] = []

    def flush(layer: str) -> None:
        for name in [name for name in pending if name.rpartition(".")[0] != layer]:
            packed[name + ORIGINAL], packed[name + MASK] = state[name], mask[name].detach().cpu().float().contiguous()
            pending.remove(name)

    for key, value in state.items():
        flush(key.rpartition(".")[0])
        if key in mask:
            pending.append(key)
        else:
            packed[key] = value
    flush("")
    return packed


def unpack(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Mask]:
    """Inverse of ``pack``: plain weights with masks applied, and the boolean mask.

    A state dict of masks alone gives no weights.
    """
    weights: dict[str, Tensor] = {}
    mask: Mask = {}
    for key, value in state.items():
        if key.endswith("weight" + MASK):
            mask[key.removesuffix(MASK)] = value != 0
        elif key.endswith("weight" + ORIGINAL):
            name = key.removesuffix(ORIGINAL)
            weights[name] = value * state[name + MASK].to(value.dtype) if name + MASK in state else value
        else:
            weights[key] = value
    return weights, mask


def read(path: Path, flag: str, allow_pickle: bool = False, model: nn.Module | None = None) -> Checkpoint:
    """Open a checkpoint, a bare state dict or a file of masks, whatever its entries are called.

    Args:
        path: the file.
        flag: the flag that names the file, for errors.
        allow_pickle: read files that need pickle, which can run code.
        model: the model that the file is for. Names of other code become the model's names, and a file too large to
            be one of its checkpoints is refused. None accepts any names.
    Raises:
        UsageError: the file is missing, empty, damaged, too large, needs pickle, or holds no state dict of finite
            numbers, or several that fit.
    """
    source = f"{flag} {path}"
    content = torch_files.load(path, source, allow_pickle, model)
    expected = None if model is None else foreign.shapes(model.state_dict())
    head = None if model is None else models.head_name(model)
    place, state, notes = _only_state_dict(content, source, path, expected, head)
    torch_files.check_tensors(state, source, model)
    extra = _other_entries(content, place)
    _check_own(extra, source)
    state, words = foreign.with_statistics(state, extra if place else {})
    notes += words
    if expected is not None:
        state, renamed = _renamed(state, expected, head, source)
        notes += renamed
        foreign.check_statistics(state, source)
    _check_masks(state, source)
    return Checkpoint(path, *unpack(state), extra, notes)


@dataclass(frozen=True)
class Seen:
    """What ``peek`` finds in a file without looking at its numbers.

    Attributes:
        extra: this project's own entries.
        shapes: shapes in the state dict by name; empty if there is not exactly one state dict.
    """

    extra: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


def peek(path: Path, allow_pickle: bool = False) -> Seen | None:
    """A quick look at a checkpoint; None if it cannot be read or is no checkpoint (``read`` raises the reason)."""
    try:
        status = path.stat()
        return _peek(path, allow_pickle, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, UsageError):
        return None


@functools.lru_cache(maxsize=64)
def _peek(path: Path, allow_pickle: bool, changed: int, size: int) -> Seen:
    content = torch_files.load(path, str(path), allow_pickle, None, glance=True)
    state_dicts = foreign.state_dicts(content)
    place = next(iter(state_dicts), "")
    extra = _other_entries(content, place)
    _check_own(extra, str(path))
    own = {key: extra[key] for key in (*OWN, *OWN_BEFORE) if key in extra}
    return Seen(own, foreign.shapes(state_dicts[place]) if len(state_dicts) == 1 else {})


def _only_state_dict(
    content: Any, source: str, path: Path, expected: foreign.Shapes | None, head: str | None
) -> tuple[str, dict[str, Tensor], tuple[str, ...]]:
    """The key of the only fitting state dict in a file, the state dict, and remarks; UsageError unless there is one."""
    state_dicts = foreign.state_dicts(content)
    places = list(state_dicts)
    if expected is not None and len(state_dicts) > 1:
        places = [place for place in state_dicts if foreign.fits(foreign.shapes(state_dicts[place]), expected, head)]
        places = places or list(state_dicts)[:1]
    if not places:
        raise UsageError(f"{source}: holds no state dict")
    if len(places) > 1:
        names = " and ".join(place or "its own entries" for place in places)
        keys = "".join(f"[{key!r}]" for key in places[-1].split("."))
        why = f"keep the one you mean: torch.save(torch.load({path.name!r}){keys}, 'one.pt')"
        raise UsageError(f"{source}: holds several state dicts ({names}); {why}")
    [place] = places
    notes = [] if place in ("", "state_dict") else [f"entry {place}"]
    if len(state_dicts) > 1:
        notes.append(f"{' and '.join(other or 'others' for other in state_dicts if other != place)} left out")
    state = {}
    for key, value in state_dicts[place].items():
        if isinstance(value, Tensor):
            state[key] = value
        elif "." in key:
            raise UsageError(f"{source}: {key} is of type {type(value).__name__}, not a tensor")
        elif place:
            notes.append(f"{key} left out")
    return place, state, tuple(notes)


def _other_entries(content: Any, place: str) -> dict[str, Any]:
    """The other entries of a file whose state dict is at ``place``."""
    if not isinstance(content, Mapping):
        return {}
    taken = place.split(".")[0]
    return {key: value for key, value in content.items() if (key != taken if place else not isinstance(value, Tensor))}


def _renamed(
    state: dict[str, Tensor], expected: foreign.Shapes, head: str | None, source: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A state dict with names of other code replaced by the model's, and remarks on what was renamed."""
    fit = foreign.rename(foreign.shapes(state), expected, head)
    if fit.clash is not None:
        hint = "take one of them out"
        raise UsageError(f"{source}: {fit.clash[0]} and {fit.clash[1]} would both be {fit.clash[2]}; {hint}")
    renamed = {new: state[old] for old, new in fit.names.items()}
    flat = {key: renamed[key].reshape(-1) for key in foreign.NORMALIZE if key in renamed and renamed[key].numel() == 3}
    return {**renamed, **flat}, fit.notes


def read_tensors(
    path: Path,
    flag: str,
    allow_pickle: bool = False,
    model: nn.Module | None = None,
    expected: foreign.Shapes | None = None,
) -> dict[str, Tensor]:
    """Open a file that holds a plain dict of tensors.

    Args:
        path, flag, allow_pickle: those of ``read``.
        model: the model that the file is for; a file too large for it is refused. If it has a method ``own_names``,
            this turns names of other code into the model's.
        expected: shapes by the names that the entries should have; names of other code are matched to these.
    Raises:
        UsageError: the file is missing, empty, damaged, too large, needs pickle, or holds something else.
    """
    source = f"{flag} {path}"
    content = torch_files.load(path, source, allow_pickle, model)
    named = isinstance(content, Mapping) and all(isinstance(key, str) for key in content)
    plain = named and all(isinstance(value, Tensor) for value in content.values())
    if not plain or not content:
        raise UsageError(f"{source}: holds no tensors by name")
    torch_files.check_tensors(content, source, model)
    tensors = getattr(model, "own_names", dict)(content)
    return tensors if expected is None else _renamed(tensors, expected, None, source)[0]


def _check_masks(state: Mapping[str, Tensor], source: str) -> None:
    for key, value in state.items():
        if key.endswith("weight" + ORIGINAL):
            mask = state.get(key.removesuffix(ORIGINAL) + MASK)
            if key.removesuffix(ORIGINAL) in state:
                hint = "take one of them out"
                raise UsageError(f"{source}: {key} and {key.removesuffix(ORIGINAL)} are both there; {hint}")
            if mask is None:
                raise UsageError(f"{source}: {key} has no mask beside it")
            if mask.shape != value.shape:
                raise UsageError(f"{source}: {key} is {list(value.shape)}, its mask {list(mask.shape)}")
        elif key.endswith("weight" + MASK) and not bool(((value == 0) | (value == 1)).all()):
            raise UsageError(f"{source}: {key} holds other values than 0 and 1")


def _check_own(extra: Mapping[str, Any], source: str) -> None:
    """Refuse a file whose entries under this project's own names are of other types than this project writes."""
    for key, kinds in OWN.items():
        if key in extra and not isinstance(extra[key], kinds):
            raise UsageError(f"{source}: {key} is of type {type(extra[key]).__name__}; expected {kinds[0].__name__}")
    for key in ("recipe", "origin"):
        if key in extra:
            try:
                json.dumps([extra[key], extra.get("state")], allow_nan=False)
            except (TypeError, ValueError, RecursionError) as error:
                raise UsageError(f"{source}: {key} is no plain data ({error})") from None
    wrong = origin.check(extra.get("origin", {}))
    if wrong is not None:
        raise UsageError(f"{source}: {wrong}")


def check_fits(
    checkpoint: Checkpoint,
    model: nn.Module,
    arch: str,
    flag: str,
    masks_alone: bool = False,
    dataset: str = "",
    stem: bool = False,
) -> None:
    """Refuse a checkpoint that does not fit a model.

    Args:
        arch: the architecture's name, for errors.
        flag: the flag that names the file, for errors.
        masks_alone: whether a file with masks but no weights is accepted (for methods that train new weights).
        dataset: the data set's name, for errors.
        stem: whether the model has the ImageNet stem.
    Raises:
        UsageError: names the file, the first difference, and the architecture it seems to be.
    """
    expected = model.state_dict()
    source = f"{flag} {checkpoint.path}"
    strange = [k for k, m in checkpoint.mask.items() if k not in expected or m.shape != expected[k].shape]
    if strange:
        reason = f"its masks do not fit --arch {arch} (first: {strange[0]}){_hint(checkpoint, arch, stem)}"
        raise UsageError(f"{source}: {reason}")
    if not checkpoint.weights:
        if masks_alone:
            return
        raise UsageError(f"{source}: holds masks but no weights; that is enough for --unlearn retrain only")
    allowed = foreign.absent(checkpoint.weights, expected)
    missing = [k for k in expected if k not in checkpoint.weights and k not in allowed]
    surplus = [k for k in checkpoint.weights if k not in expected]
    if missing or surplus:
        differing = [f"{name} is missing" for name in missing[:1]] + [f"{name} is unknown" for name in surplus[:1]]
        first = ", ".join(differing)
        counts = f"{len(missing)} entries missing, {len(surplus)} unknown"
        raise UsageError(f"{source}: is no {arch} ({counts}; {first}){_hint(checkpoint, arch, stem)}")
    _check_shapes(checkpoint, model, source, arch, dataset, stem)


def _check_shapes(checkpoint: Checkpoint, model: nn.Module, source: str, arch: str, dataset: str, stem: bool) -> None:
    head = models.head_name(model)
    for key, value in model.state_dict().items():
        stored = checkpoint.weights.get(key)
        if stored is None:
            continue
        if stored.shape != value.shape:
            shapes = f"{source}: {key} is {list(stored.shape)}, expected {list(value.shape)}"
            if key in (f"{head}.weight", f"{head}.bias") and stored.shape[1:] == value.shape[1:]:
                data = f"--dataset {dataset}" if dataset else "the data set"
                reason = f"the head has {len(stored)} classes, {data} has {len(value)}"
                raise UsageError(f"{shapes}: {reason}; give the data set that it was trained on")
            side = models.side(foreign.shapes(checkpoint.weights)) if foreign.is_position(key) else None
            fits = f"; its positions are those of --input_size {side}" if side else ""
            reason = f"another --dataset, --input_size or --arch?{fits}{_hint(checkpoint, arch, stem)}"
            raise UsageError(f"{shapes}; {reason}")
        if stored.is_floating_point() != value.is_floating_point() or (stored.dtype == torch.bool) != (
            value.dtype == torch.bool
        ):
            raise UsageError(f"{source}: {key} is {torch_files.kind(stored)}, expected {torch_files.kind(value)}")
        if stored.dtype == torch.float64 and not torch_files.sound(key, stored.to(value.dtype)):
            raise UsageError(f"{source}: {key} holds values too large for {torch_files.kind(value)}")


def _hint(checkpoint: Checkpoint, arch: str, stem: bool) -> str:
    """The end of an error for a file that does not fit: the architecture that it seems to be, or a shared prefix."""
    shapes = foreign.shapes(checkpoint.weights)
    guesses = models.guesses(shapes) if shapes else []
    if (arch, not stem) in guesses:
        added = "this is the ImageNet stem: add --imagenet_arch"
        return "; it has the CIFAR stem: leave --imagenet_arch out" if stem else f"; {added}"
    if guesses and (arch, stem) not in guesses:
        named = (name + (" with the ImageNet stem" if imagenet else "") for name, imagenet in guesses)
        return f"; it looks like {' or '.join(named)}"
    done = f"; {', '.join(checkpoint.notes)}" if checkpoint.notes else ""
    prefix = foreign.shared_prefix(shapes)
    return done + (f"; all its names begin with '{prefix}'" if prefix else "")


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy the checkpoint's weights into the model, strictly; statistics and counters may be missing."""
    own = model.state_dict()
    lacking = {name: own[name] for name in foreign.absent(checkpoint.weights, own)}
    model.load_state_dict({**lacking, **checkpoint.weights}, strict=True)


def write_progress(path: Path, state: dict[str, Any]) -> None:
    """Store how far a run has come: a dict of plain values and tensors, with an entry ``fingerprint``."""
    files.write_bytes(path, files.torch_bytes(state))


def read_progress(path: Path) -> dict[str, Any] | None:
    """Read what ``write_progress`` stored; None if the file is missing, damaged or another kind of file."""
    try:
        state = torch_files.load(path, str(path), False, None)
    except UsageError:  # the run starts afresh
        return None
    return state if isinstance(state, dict) and "fingerprint" in state else None


def training_checkpoint(
    model: nn.Module | Mapping[str, Tensor], at: Position, training: dict[str, Any], stamp: dict[str, Any]
) -> dict[str, Any]:
    """The content of a training checkpoint: the reference's keys, followed by this project's own.

    Args:
        model: a model or its state dict.
        at: how far the training has come.
        training: ``epoch``, ``optimizer`` and ``scheduler`` states.
        stamp: further plain entries.
    """
    return {
        "state": at.round,
        "result": {key: list(values) for key, values in at.result.items()},
        "epoch": training["epoch"],
        "state_dict": pack(model, at.mask),
        "best_sa": at.best_sa,
        "optimizer": training["optimizer"],
        "scheduler": training["scheduler"],
        "init_weight": at.rewind,
        **stamp,
    }


def frozen_checkpoint(state: Mapping[str, Tensor], mask: Mask, adapters: str, stamp: dict[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint of a frozen model whose adapters lie in the folder ``adapters``.

    Args:
        state: the frozen model's state dict.
        mask: boolean tensors by parameter name, True where a weight is kept.
        stamp: further plain entries.
    """
    return {"state_dict": pack(state, mask), "adapters": adapters, **stamp}


def unlearned_checkpoint(
    model: nn.Module, mask: Mask, evaluation: dict[str, Any] | None, stamp: dict[str, Any]
) -> dict[str, Any]:
    """The content of an unlearned model's checkpoint: the reference's keys, followed by this project's own.

    Args:
        mask: boolean tensors by parameter name, True where a weight is kept.
        evaluation: the scores, stored as ``evaluation_result``; None before the model is scored.
        stamp: further plain entries.
    """
    return {"state_dict": pack(model, mask), "evaluation_result": evaluation, **stamp}


def write(content: dict[str, Any], *targets: Path) -> None:
    """Write the same checkpoint to every target, in order, each in one step."""
    data = files.torch_bytes(content)
    for target in targets:
        files.write_bytes(target, data)


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a bare state dict."""
    files.write_bytes(path, files.torch_bytes(weights))
