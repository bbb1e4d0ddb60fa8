"""The interface of all generators: a network that predicts noise, a codec, and how it is stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dataset.prepare import DatasetInfo
from dataset.scenario import Scenario
from generation.codec import Codec
from generation.generation_flags import Prompts
from generation.schedule import Schedule
from utils.errors import UsageError

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Generator(ABC):
    """A generator, stored or with new weights.

    Its network is a module with the state dict of the library or code that it comes from. It is called as
    ``network(noisy, times, classes, keep)`` with float [B, C, H, W], [B], int64 [B] and bool [B], where ``keep`` is
    False for a sample whose class is dropped and None keeps all. It returns the noise, float [B, C, H, W]; a network
    that learns the variance of its steps returns that in as many further channels. ``network.noisy`` is (C, H, W).

    Attributes:
        path: where it is stored; None for new weights.
        schedule: the noise at every time.
        averaged: whether a moving average of the weights is stored too.
        extra: facts of its training that were stored with it: split, data set and names of the classes.
        kind: the name of the back end: "ddpm", "dit", "sd", or "vae" for an autoencoder alone.
        file: name of the file or folder that a run leaves.
        mean: whether losses are means over channels and pixels; else sums.
        cond_scale, clip: for saliency with ``--compat reference``, see ``Diffusion``.
    """

    path: Path | None
    schedule: Schedule
    averaged: bool
    extra: dict[str, Any]
    kind: ClassVar[str]
    file: ClassVar[str]
    mean: ClassVar[bool] = False
    cond_scale: ClassVar[float] = 0.0
    clip: ClassVar[float] = 0.0

    @property
    @abstractmethod
    def sha256(self) -> str:
        """Hex SHA-256 of the stored file or folder."""

    @abstractmethod
    def network(self, raw: bool = False) -> nn.Module:
        """The network on the CPU: with new weights if none are stored, else with the stored ones.

        Args:
            raw: take the stored weights as trained, not their moving average.
        """

    def blank(self) -> nn.Module:
        """The network on the meta device, without weights."""
        with torch.device("meta"):
            return self._empty()

    @abstractmethod
    def _empty(self) -> nn.Module:
        """The network with freshly initialised weights."""

    @abstractmethod
    def write(self, folder: Path, model: nn.Module, average: Weights | None, stamp: dict[str, Any]) -> None:
        """Write ``file`` in a run's folder.

        Args:
            model: a network of this kind.
            average: moving average of its weights, or None.
            stamp: facts of its training, which become ``extra`` when it is read.
        """

    @abstractmethod
    def check(self, info: DatasetInfo, flag: str) -> None:
        """Refuse a data set that the generator does not fit.

        Args:
            flag: what error messages begin with.
        Raises:
            UsageError: the data set has other classes, or images of another size.
        """

    @property
    def side(self) -> int:
        """Side of the drawn images in pixels."""
        network: Any = self.blank()
        return network.noisy[-1]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; empty if they are unknown."""
        return self.extra.get("classes", [])

    def with_prompts(self, flags: Prompts, info: DatasetInfo, scenario: Scenario | None) -> Generator:
        """The generator with the prompts that the flags state.

        Args:
            flags: the flags of prompts.
            info: the data set, for the names of its classes.
            scenario: the classes to forget, or None.
        Raises:
            UsageError: prompts are typed, and this kind of generator reads none.
        """
        typed = [field.name for field in fields(flags) if getattr(flags, field.name) != field.default]
        if typed:
            raise UsageError(f"--{typed[0]}: --model reads no prompts; they are for Stable Diffusion")
        return self

    def codec(self) -> Codec:
        """The codec that converts between images and what the network denoises."""
        return Codec()

    def guided_channels(self, compat: str) -> int | None:
        """The number of channels, from the first, on which guidance acts; None for all of the noise."""
        return None
