"""The back end ``ddpm``: a U-Net in a file of this project, or in one of the reference code, which stores no shape."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from dataset.prepare import DatasetInfo
from generation.generator import Generator, Weights
from generation.schedule import Schedule
from generation.unet import ConditionalUNet, Shape, plain_keys
from trainer import checkpoints
from utils import files, torch_files
from utils.errors import UsageError

MODEL = "generator.pt"
GROUPS = 32  # of the reference's group norms


@dataclass(frozen=True, kw_only=True)
class Saved(Generator):
    """A U-Net on disk, or a new one.

    Attributes:
        shape: the size of the network.
        weights: as trained; None for new ones.
        average: their moving average; None if there is none.
    """

    shape: Shape
    weights: Weights | None = None
    average: Weights | None = None
    kind: ClassVar[str] = "ddpm"
    file: ClassVar[str] = MODEL
    cond_scale: ClassVar[float] = 2.0
    clip: ClassVar[float] = 1.0

    @property
    def sha256(self) -> str:
        assert self.path is not None
        return files.sha256(self.path)

    def network(self, raw: bool = False) -> ConditionalUNet:
        chosen = self.weights if raw or self.average is None else self.average
        if chosen is None:
            return self._empty()
        model = self.blank()
        model.load_state_dict({key: value.clone() for key, value in chosen.items()}, assign=True)
        return model.requires_grad_()

    def blank(self) -> ConditionalUNet:
        with torch.device("meta"):
            return self._empty()

    def _empty(self) -> ConditionalUNet:
        return ConditionalUNet(self.shape)

    def write(self, folder: Path, model: nn.Module, average: Weights | None, stamp: dict[str, Any]) -> None:
        assert isinstance(model, ConditionalUNet)
        write(folder / MODEL, model, self.schedule, average, stamp)

    def check(self, info: DatasetInfo, flag: str) -> None:
        if self.shape.size != info.side:
            reason = f"draws images of {self.shape.size} pixels, the data have {info.side}"
            raise UsageError(f"{flag}: {reason}; give --input_size {self.shape.size}")
        if self.shape.classes != info.classes:
            reason = f"draws {self.shape.classes} classes, {info.source.name} has {info.classes}"
            raise UsageError(f"{flag}: {reason}; give the data set that it was trained on")


def write(
    path: Path, model: ConditionalUNet, schedule: Schedule, average: Weights | None, stamp: dict[str, Any]
) -> None:
    """Write a generator to a file of plain values and tensors.

    Args:
        average: moving average of the weights, or None.
        stamp: facts of the training, further entries of the file.
    """
    shape = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(model.shape).items()}
    content: dict[str, Any] = {
        "generator": shape,
        "schedule": asdict(schedule),
        "state_dict": _packed(model.state_dict()),
    }
    if average is not None:
        content["average"] = _packed(average)
    checkpoints.write({**content, **stamp}, path)


def _packed(weights: Any) -> Weights:
    return {key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}


def read(path: Path, flag: str, size: int, allow_pickle: bool = False) -> Saved:
    """Read a generator from a file.

    Args:
        flag: the flag that names it, for error messages.
        size: side of the data set's images in pixels, which files of the reference code do not hold.
        allow_pickle: whether the file may hold more than plain tensors.
    Raises:
        UsageError: the file is missing, damaged, or holds no such generator.
    """
    flag = f"{flag} {path}"
    content = torch_files.load(path, flag, allow_pickle)
    if isinstance(content, dict) and "generator" in content:
        stored: Any = content["generator"]
        extra = {k: v for k, v in content.items() if k not in ("state_dict", "average")}
        weights, average, schedule = content.get("state_dict"), content.get("average"), Schedule(**content["schedule"])
        shaped: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
        shape = Shape(**shaped)
    else:
        weights, average = _of_reference(content, flag)
        shape, schedule, extra = shape_of(weights, size, flag), Schedule(), {}
    for part in (weights, average):
        _check(part, shape, flag)
    assert weights is not None
    return Saved(
        path=path,
        schedule=schedule,
        averaged=average is not None,
        extra=extra,
        shape=shape,
        weights=weights,
        average=average,
    )


def _of_reference(content: Any, flag: str) -> tuple[Weights, Weights | None]:
    """Weights and their moving average in a file of the reference code.

    The file holds a list of model, optimiser, step and average, or a bare state dict, which has no average.
    """
    parts = content if isinstance(content, (list, tuple)) else [content]
    if not parts or not isinstance(parts[0], dict) or "null_classes_emb" not in plain_keys(parts[0]):
        raise UsageError(f"{flag}: holds no class-conditional generator; give generator.pt or the reference's ckpt.pth")
    average = parts[3] if len(parts) > 3 and isinstance(parts[3], dict) else None
    return plain_keys(parts[0]), None if average is None else plain_keys(average)


def shape_of(weights: Weights, size: int, flag: str = "weights") -> Shape:
    """The size of the network that weights belong to, read from their names and shapes.

    Args:
        size: side of the images in pixels.
        flag: what error messages begin with.
    Raises:
        UsageError: weights are missing.
    """

    def numbers(pattern: str) -> list[int]:
        return sorted({int(match[1]) for key in weights if (match := re.match(pattern, key))})

    try:
        width = len(weights["null_classes_emb"])
        levels, blocks = numbers(r"down\.(\d+)\.block"), len(numbers(r"down\.0\.block\.(\d+)\."))
        wide = [len(weights[f"down.{level}.block.0.conv1.weight"]) for level in levels]
        attention = tuple(size // 2**level for level in numbers(r"down\.(\d+)\.attn"))
        channels, classes = weights["conv_in.weight"].shape[1], len(weights["classes_emb.weight"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"{flag}: lacks {error}; is no whole generator") from error
    groups = GROUPS if all(each % GROUPS == 0 for each in wide) else wide[0]
    multipliers = tuple(each // width for each in wide)
    return Shape(width, multipliers, blocks, attention, size, channels, classes, groups)


def _check(weights: Any, shape: Shape, flag: str) -> None:
    """Refuse weights whose names or shapes are not those of the network, or that are not finite."""
    if weights is None:
        return
    with torch.device("meta"):
        own = {key: value.shape for key, value in ConditionalUNet(shape).state_dict().items()}
    shapes = {key: value.shape for key, value in weights.items()}
    wrong = [key for key in {**own, **shapes} if own.get(key) != shapes.get(key)]
    if wrong:
        raise UsageError(f"{flag}: is not of this network (differs in {len(wrong)}: {wrong[0]}, ...)")
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise UsageError(f"{flag}: holds numbers that are not finite")


def checked_shape(flags: Any, size: int, channels: int, classes: int) -> Shape:
    """The size of the network that flags ask for.

    Args:
        flags: ``generation_flags.Generator``.
        size: side of the images in pixels.
        channels: of the images.
        classes: number of classes.
    Raises:
        UsageError: the levels do not divide the images, the groups do not divide the channels, or no level has the side
            of ``--attention``.
    """
    levels, groups = len(flags.multipliers), flags.norm_groups
    if size % 2 ** (levels - 1):
        raise UsageError(f"--multipliers: {levels} levels halve {size} pixels {levels - 1} times; give fewer levels")
    odd = next((w for m in flags.multipliers if (w := flags.width * m) % groups), None)
    if odd is not None or flags.width % 2:
        raise UsageError(
            f"--norm_groups {groups}: must divide all numbers of channels, {odd or flags.width} too; see --width"
        )
    sides = [size // 2**level for level in range(levels)]
    lost = [side for side in flags.attention if side not in sides]
    if lost:
        raise UsageError(f"--attention {lost[0]}: no level has this side; levels have {', '.join(map(str, sides))}")
    names = {field.name for field in fields(Shape)}
    same = {name: getattr(flags, name) for name in names if hasattr(flags, name)}
    return Shape(**same, size=size, channels=channels, classes=classes, groups=groups)
