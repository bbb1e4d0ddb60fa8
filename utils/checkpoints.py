"""The one place that knows what a checkpoint file holds.

A checkpoint is a dict in the reference's layout (``state_dict`` with ``weight_orig`` and
``weight_mask`` for pruned layers) or a bare state dict. Everything written here is tensors and
plain Python values, so ``torch.load`` opens it with its safe default.
"""
from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping
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


def read(path: Path, flag: str, allow_pickle: bool = False) -> Checkpoint:
    """Open a checkpoint, a bare state dict or a file of masks.

    Raises:
        UsageError: the file is missing, empty, damaged, needs pickle, or holds no state dict.
    """
    content = _load(path, flag, allow_pickle)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise UsageError(f"{flag} {path}: holds no state dict")
    unmatched = [k for k in state if k.endswith("weight" + ORIGINAL) and k.removesuffix(ORIGINAL) + MASK not in state]
    if unmatched:
        raise UsageError(f"{flag} {path}: {unmatched[0]} has no mask beside it")
    broken = [k for k, v in state.items() if v.is_floating_point() and not _sound(k, v)]
    if broken:
        raise UsageError(f"{flag} {path}: {broken[0]} holds NaN or infinite values")
    weights, mask = unpack(state)
    extra = {k: v for k, v in content.items() if k != "state_dict"} if "state_dict" in content else {}
    return Checkpoint(path, weights, mask, extra)


def read_tensors(path: Path, flag: str, allow_pickle: bool = False) -> dict[str, Tensor]:
    """Open a file that holds a plain dict of tensors.

    Raises:
        UsageError: the file is missing, empty, damaged, needs pickle, or holds something else.
    """
    content = _load(path, flag, allow_pickle)
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(f"{flag} {path}: holds no tensors by name")
    return dict(content)


def _sound(key: str, value: Tensor) -> bool:
    """Whether all numbers are finite; attention masks, which are no weights' masks, may hold -inf."""
    if key.endswith(MASK) and not key.endswith("weight" + MASK):
        value = value.masked_fill(value == -torch.inf, 0.0)
    return bool(torch.isfinite(value).all())


def _load(path: Path, flag: str, allow_pickle: bool) -> Any:
    if not path.exists():
        raise UsageError(f"{flag} {path}: no such file")
    if path.is_dir():
        raise UsageError(f"{flag} {path}: is a folder, not a checkpoint")
    if path.stat().st_size == 0:
        raise UsageError(f"{flag} {path}: is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except Exception as error:
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise UsageError(
                f"{flag} {path}: is not a file of plain tensors; if you trust where it comes from, add --allow_pickle"
            ) from error
        raise UsageError(f"{flag} {path}: is damaged or not a checkpoint ({type(error).__name__})") from error


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
    for key, value in expected.items():
        if checkpoint.weights[key].shape != value.shape:
            shapes = f"{list(checkpoint.weights[key].shape)}, expected {list(value.shape)}"
            raise UsageError(f"{where}: {key} is {shapes}; another --dataset, --input_size or --arch{_hint(checkpoint)}?")


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
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  (whatever a damaged file raises, the run starts afresh)
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
    needed = ("state", "result", "epoch", "best_sa", "optimizer", "scheduler", "init_weight")
    missing = [key for key in needed if key not in checkpoint.extra]
    if missing:
        raise UsageError(f"--checkpoint {checkpoint.path}: is no training checkpoint ({missing[0]} is missing)")
    return {"rounds": [], **checkpoint.extra}


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
