"""What every kind of generator is to the rest: a network that predicts noise, what it denoises, how it is stored."""

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
        schedule: the noise of every time.
        averaged: whether a moving average of the weights is stored too.
        extra: what else was stored with it: the split and data set of its training.
        kind: the name of the back end.
        file: what a run leaves in its folder.
        mean: whether losses are means over what is denoised; sums otherwise.
        cond_scale, clip: with ``--compat reference``, of saliency; see ``Diffusion``.
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
        """The digest of what is stored."""

    @abstractmethod
    def network(self, raw: bool = False) -> nn.Module:
        """The network: with new weights, with the average of the stored ones, or with these if there is none or
        ``raw``.
        """

    def blank(self) -> nn.Module:
        """The network without numbers, on the meta device."""
        with torch.device("meta"):
            return self._empty()

    @abstractmethod
    def _empty(self) -> nn.Module:
        """The network as its library makes it."""

    @abstractmethod
    def write(self, folder: Path, model: nn.Module, average: Weights | None, stamp: dict[str, Any]) -> None:
        """Leave ``file`` in a run's folder: a network of this kind, its average, and what is known of its training."""

    @abstractmethod
    def check(self, info: DatasetInfo, flag: str) -> None:
        """Refuse a data set that it does not fit.

        Args:
            flag: begins the error.
        Raises:
            UsageError: other classes or another size.
        """

    @property
    def side(self) -> int:
        """Side in pixels of the images that it draws."""
        network: Any = self.blank()
        return network.noisy[-1]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, as far as they are known; numbers otherwise."""
        return self.extra.get("classes", [])

    def with_prompts(self, flags: Prompts, info: DatasetInfo, scenario: Scenario | None) -> Generator:
        """The generator with the prompts that are typed.

        Raises:
            UsageError: it reads none, and some are typed.
        """
        typed = [field.name for field in fields(flags) if getattr(flags, field.name) != field.default]
        if typed:
            raise UsageError(f"--{typed[0]}: --model reads no prompts; they are for Stable Diffusion")
        return self

    def codec(self) -> Codec:
        """Between images and what is denoised."""
        return Codec()

    def guided_channels(self, compat: str) -> int | None:
        """Channels that guidance acts on, the first ones; None for all of the noise."""
        return None
