"""The one place that knows what a checkpoint file holds.

A checkpoint is a dict in the reference's layout (``state_dict`` with ``weight_orig`` and
``weight_mask`` for pruned layers) or a bare state dict. Everything written here is tensors and
plain Python values, so ``torch.load`` opens it with its safe default.
"""
from __future__ import annotations

import json
import math
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import models
from pruner import Mask
from utils import files
from utils.errors import UsageError

ORIGINAL, MASK = "_orig", "_mask"
ZIP = b"PK\x03\x04"  # begins what torch.save writes
ROOM = 128 << 20  # bytes that a checkpoint may have beside its tensors, and more
DTYPES = {
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
}
OWN = {  # entries of ours that are read, and of what type they are
    "split_digest": (str,), "split_seed": (int, type(None)), "forget_digest": (str,), "poison_digest": (str,), "poison": (str,),
    "trained": (str,), "fingerprint": (str,), "recipe": (dict,), "rounds": (list,), "seconds": (float, int, type(None)),
}


@dataclass(frozen=True)
class Checkpoint:
    """What a file held: weights with the mask applied, the mask, and the remaining entries.

    Attributes:
        weights: parameters and buffers by plain name; empty if the file holds masks only.
        mask: kept weights by parameter name; empty for a dense model.
        extra: every other entry of the file (``epoch``, ``optimizer``, ``split_digest``, ...).
    """

    path: Path
    weights: dict[str, Tensor]
    mask: Mask
    extra: dict[str, Any]

    @property
    def sha256(self) -> str:
        return files.sha256(self.path)


def pack(model: nn.Module | Mapping[str, Tensor], mask: Mask, leave_out: Collection[str] = ()) -> "OrderedDict[str, Tensor]":
    """The model's state dict as the reference stores it: a pruned ``X.weight`` becomes ``X.weight_orig`` and ``X.weight_mask``.

    The pair stands behind the other entries of its layer, where the reference's has it. Tensors
    are contiguous copies on the CPU; masks are float32 of 0 and 1.

    Args:
        model: or its state dict.
        leave_out: entries that are not wanted.
    """
    whole = model.state_dict() if isinstance(model, nn.Module) else model
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in whole.items() if key not in leave_out
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
    """Open a checkpoint, a bare state dict or a file of masks.

    Args:
        model: what it is for; a file too large to be a checkpoint of it is not read.
    Raises:
        UsageError: the file is missing, empty, damaged, too large, needs pickle, or holds no state dict of finite numbers.
    """
    where = f"{flag} {path}"
    content = _load(path, where, allow_pickle, model)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UsageError(f"{where}: holds no state dict")
    _check_tensors(state, where, model)
    _check_masks(state, where)
    extra = {k: v for k, v in content.items() if k != "state_dict"} if "state_dict" in content else {}
    _check_own(extra, where)
    return Checkpoint(path, *unpack(state), extra)


def read_tensors(path: Path, flag: str, allow_pickle: bool = False, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Open a file that holds a plain dict of tensors.

    Raises:
        UsageError: the file is missing, empty, damaged, too large, needs pickle, or holds something else.
    """
    where = f"{flag} {path}"
    content = _load(path, where, allow_pickle, model)
    plain = isinstance(content, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    if not plain or not content:
        raise UsageError(f"{where}: holds no tensors by name")
    _check_tensors(content, where, model)
    return dict(content)


def _check_tensors(state: Mapping[str, Tensor], where: str, model: nn.Module | None) -> None:
    """Refuse what is not what it says, before anything is computed from it."""
    room = None if model is None else _room(model)
    for key, value in state.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in DTYPES or value.is_nested:
            raise UsageError(f"{where}: {key} is no plain tensor ({_kind(value)}, {value.layout}, {value.device})")
        size = value.numel() * value.element_size()
        if size > value.untyped_storage().nbytes():
            raise UsageError(f"{where}: {key} has more entries than numbers are stored for it")
        if room is not None:
            room -= size
            if room < 0:
                raise UsageError(f"{where}: its entries together are larger than any checkpoint of this model")
        if value.is_floating_point() and not _sound(key, value):
            raise UsageError(f"{where}: {key} holds NaN or infinite values")


def _check_masks(state: Mapping[str, Tensor], where: str) -> None:
    for key, value in state.items():
        if key.endswith("weight" + ORIGINAL):
            mask = state.get(key.removesuffix(ORIGINAL) + MASK)
            if mask is None:
                raise UsageError(f"{where}: {key} has no mask beside it")
            if mask.shape != value.shape:
                raise UsageError(f"{where}: {key} is {list(value.shape)}, its mask {list(mask.shape)}")
        elif key.endswith("weight" + MASK) and not bool(((value == 0) | (value == 1)).all()):
            raise UsageError(f"{where}: {key} holds other values than 0 and 1")


def _check_own(extra: Mapping[str, Any], where: str) -> None:
    """Refuse entries under our own names that are not what we write there."""
    for key, kinds in OWN.items():
        if key in extra and not isinstance(extra[key], kinds):
            raise UsageError(f"{where}: {key} is of type {type(extra[key]).__name__}; expected {kinds[0].__name__}")
    if "recipe" in extra:
        try:
            json.dumps([extra["recipe"], extra.get("state")], allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{where}: recipe is no plain data ({error})") from None


def _sound(key: str, value: Tensor) -> bool:
    """Whether all numbers are finite; attention masks, which are no weights' masks, may hold -inf."""
    if key.endswith(MASK) and not key.endswith("weight" + MASK):
        value = value.masked_fill(value == -torch.inf, 0.0)
    return bool(torch.isfinite(value).all())


def _kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _room(model: nn.Module) -> int:
    """Bytes that a checkpoint of the model may have: weights, masks, weights to go back to, an optimiser's two moments, and some more."""
    return ROOM + 8 * sum(value.numel() * value.element_size() for value in model.state_dict().values())


def _load(path: Path, where: str, allow_pickle: bool, model: nn.Module | None) -> Any:
    size = files.size_of(path, where, "checkpoint", None if model is None else _room(model))
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if file.read(4) == ZIP:
                _check_archive(path, size)
            return torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except Exception as error:  # noqa: BLE001  (a damaged file can raise anything)
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise UsageError(f"{where}: is not a file of plain tensors; if you trust where it comes from, add --allow_pickle") from error
        said = f": {error}" if isinstance(error, zipfile.BadZipFile) else ""
        raise UsageError(f"{where}: is damaged or not a checkpoint ({type(error).__name__}{said})") from error


def _check_archive(path: Path, size: int) -> None:
    """Read every entry once: torch compares no checksums, and unpacks whatever size an entry declares.

    Raises:
        zipfile.BadZipFile: an entry is compressed, which torch never does, or damaged, or all together are larger than the file.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(entry.file_size for entry in entries) > size:
            raise zipfile.BadZipFile("its entries are larger than the file")
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} differs")


def check_fits(checkpoint: Checkpoint, model: nn.Module, arch: str, flag: str, masks_alone: bool = False) -> None:
    """Refuse a checkpoint that is not one of this model.

    Args:
        masks_alone: whether a file without weights will do (for methods that start afresh).
    Raises:
        UsageError: names the file, the first difference, and the architecture it seems to be.
    """
    expected = model.state_dict()
    where = f"{flag} {checkpoint.path}"
    strange = [k for k, m in checkpoint.mask.items() if k not in expected or m.shape != expected[k].shape]
    if strange:
        raise UsageError(f"{where}: its masks do not fit --arch {arch} (first: {strange[0]}){_hint(checkpoint)}")
    if not checkpoint.weights:
        if masks_alone:
            return
        raise UsageError(f"{where}: holds masks but no weights; that is enough for --unlearn retrain only")
    missing = [k for k in expected if k not in checkpoint.weights]
    surplus = [k for k in checkpoint.weights if k not in expected]
    if missing or surplus:
        first = f"{missing[0]} is missing" if missing else f"{surplus[0]} is unknown"
        raise UsageError(f"{where}: is no {arch} ({len(missing)} entries missing, {len(surplus)} unknown; {first}){_hint(checkpoint)}")
    _check_shapes(checkpoint, expected, where)


def _check_shapes(checkpoint: Checkpoint, expected: Mapping[str, Tensor], where: str) -> None:
    for key, value in expected.items():
        if checkpoint.weights[key].shape != value.shape:
            shapes = f"{list(checkpoint.weights[key].shape)}, expected {list(value.shape)}"
            raise UsageError(f"{where}: {key} is {shapes}; another --dataset, --input_size or --arch{_hint(checkpoint)}?")
        found = checkpoint.weights[key]
        if found.is_floating_point() != value.is_floating_point() or (found.dtype == torch.bool) != (value.dtype == torch.bool):
            raise UsageError(f"{where}: {key} is {_kind(found)}, expected {_kind(value)}")
        if found.dtype == torch.float64 and not _sound(key, found.to(value.dtype)):
            raise UsageError(f"{where}: {key} holds values too large for {_kind(value)}")


def _hint(checkpoint: Checkpoint) -> str:
    name = models.guess(checkpoint.weights) if checkpoint.weights else None
    return f"; it looks like {name}" if name else ""


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy the checkpoint's weights into the model, strictly."""
    model.load_state_dict(checkpoint.weights, strict=True)


def write_progress(path: Path, state: dict[str, Any]) -> None:
    """Store how far a run has come: plain values and tensors, with a ``fingerprint``."""
    files.write_bytes(path, files.torch_bytes(state))


def read_progress(path: Path) -> dict[str, Any] | None:
    """What ``write_progress`` stored; None if the file is not one of those."""
    try:
        state = _load(path, str(path), False, None)
    except UsageError:  # the run starts afresh
        return None
    return state if isinstance(state, dict) and "fingerprint" in state else None


def training_checkpoint(
    model: nn.Module,
    mask: Mask,
    round_: int,
    result: dict[str, list[float]],
    best: float,
    training: dict[str, Any],
    rewind: Mapping[str, Tensor] | None,
    stamp: dict[str, Any],
) -> dict[str, Any]:
    """A training checkpoint under the reference's keys, followed by our own.

    Args:
        result: accuracies per epoch, in per cent.
        best: best validation accuracy so far, in per cent.
        training: ``epoch``, ``optimizer`` and ``scheduler`` states.
        rewind: dense weights that pruning goes back to.
        stamp: further plain entries.
    """
    return {
        "state": round_,
        "result": {key: list(values) for key, values in result.items()},
        "epoch": training["epoch"],
        "state_dict": pack(model, mask),
        "best_sa": best,
        "optimizer": training["optimizer"],
        "scheduler": training["scheduler"],
        "init_weight": rewind,
        **stamp,
    }


def training_position(checkpoint: Checkpoint) -> dict[str, Any]:
    """Where a training checkpoint stands, with our own entries filled in for a file that lacks them.

    Raises:
        UsageError: it is not a training checkpoint.
    """
    where = f"--checkpoint {checkpoint.path}"
    missing = [key for key in POSITION if key not in checkpoint.extra]
    if missing:
        raise UsageError(f"{where}: is no training checkpoint ({missing[0]} is missing)")
    stored = {"rounds": [], **checkpoint.extra}
    wrong = [key for key, sound in POSITION.items() if not sound(stored[key])]
    if wrong or not all(_is_summary(found) for found in stored["rounds"]):
        raise UsageError(f"{where}: is no training checkpoint ({wrong[0] if wrong else 'rounds'} is not what it should be)")
    return stored


def check_position(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Refuse a file that training cannot go on from, or not to its end.

    Raises:
        UsageError: it is not a training checkpoint, or the weights that pruning goes back to are not of this model.
    """
    rewind, where = training_position(checkpoint)["init_weight"], f"--checkpoint {checkpoint.path}: init_weight"
    if rewind is None:
        return
    _check_tensors(rewind, where, model)
    expected = model.state_dict()
    wrong = [key for key in (*expected, *rewind) if key not in expected or key not in rewind or rewind[key].shape != expected[key].shape]
    if wrong:
        raise UsageError(f"{where}: is of another model (first: {wrong[0]})")


def restore_training(training: Any, stored: dict[str, Any], path: Path) -> None:
    """Give a ``trainer.loop.Training`` the optimiser and schedule of ``training_position``.

    Raises:
        UsageError: they are not those of such a training.
    """
    own = training.pace.state()
    try:
        schedule = {key: value for key, value in stored["scheduler"].items() if key in own["scheduler"]}  # others would replace its methods
        groups = [{key: value for key, value in group.items() if key in known} for group, known in zip(stored["optimizer"]["param_groups"], own["optimizer"]["param_groups"])]
        if "last_epoch" not in schedule or len(groups) < len(stored["optimizer"]["param_groups"]) or not _alike(schedule, own["scheduler"]) or not _alike(groups, own["optimizer"]["param_groups"]):
            raise ValueError("an entry of another type")
        training.restore({**stored, "scheduler": schedule, "optimizer": {"state": stored["optimizer"]["state"], "param_groups": groups}})
        for parameter, state in training.optimizer.state.items():
            for value in state.values():
                if isinstance(value, Tensor) and (value.numel() > 1 and value.shape != parameter.shape or not bool(torch.isfinite(value).all())):
                    raise ValueError("a moment of another shape, NaN or infinite")
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError) as error:
        raise UsageError(f"--checkpoint {path}: its optimizer or scheduler is not one of such a training ({type(error).__name__}: {error})") from error


def _alike(found: Any, own: Any) -> bool:
    """Whether a stored value can stand in for one of ours: numbers for numbers, and so on; None and switches for each other."""
    if isinstance(own, Mapping):
        return isinstance(found, Mapping) and all(_alike(found[key], own[key]) if key in own else _number(found[key]) for key in found)
    if isinstance(own, (list, tuple)):
        return isinstance(found, (list, tuple)) and all(_alike(value, own[0]) for value in found) if own else found is not None
    if own is None or isinstance(own, bool):
        return found is None or isinstance(found, bool)
    return _number(found) if isinstance(own, (int, float)) else type(found) is type(own)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _curves(value: Any) -> bool:
    return isinstance(value, dict) and {"train_ta", "val_ta"} <= value.keys() and all(isinstance(v, list) and all(map(_number, v)) for v in value.values())


def _is_summary(value: Any) -> bool:
    numbers = ("density", "best_val", "test_of_best", "test_of_last")
    return isinstance(value, dict) and all(_number(value.get(key)) for key in numbers) and _count(value.get("round")) and isinstance(value.get("best"), str)


def _weights_or_none(value: Any) -> bool:
    return value is None or isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


POSITION: dict[str, Callable[[Any], bool]] = {  # what a training checkpoint must hold, and what is sound there
    "state": _count, "result": _curves, "epoch": _count, "best_sa": lambda value: _number(value) and value >= 0, "optimizer": lambda value: isinstance(value, dict),
    "scheduler": lambda value: isinstance(value, dict), "init_weight": _weights_or_none,
}


def frozen_checkpoint(state: Mapping[str, Tensor], mask: Mask, adapters: str, stamp: dict[str, Any]) -> dict[str, Any]:
    """The frozen model, a state dict, that the adapters in the folder ``adapters`` belong to."""
    return {"state_dict": pack(state, mask), "adapters": adapters, **stamp}


def unlearned_checkpoint(model: nn.Module, mask: Mask, evaluation: dict[str, Any] | None, stamp: dict[str, Any]) -> dict[str, Any]:
    """An unlearned model under the reference's keys (``evaluation_result`` is None until it is scored), then our own."""
    return {"state_dict": pack(model, mask), "evaluation_result": evaluation, **stamp}


def write(content: dict[str, Any], *targets: Path) -> None:
    """Write the same checkpoint to every target, in order, each in one step."""
    data = files.torch_bytes(content)
    for target in targets:
        files.write_bytes(target, data)


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a bare state dict."""
    files.write_bytes(path, files.torch_bytes(weights))
