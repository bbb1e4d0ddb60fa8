"""An autoencoder as the model of ``main_generate.py encode``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from dataset.named import latents
from dataset.prepare import DatasetInfo
from generation.autoencoders import autoencoder, vae_folder
from generation.codec import Latents
from generation.generator import Generator, Weights
from generation.schedule import Schedule
from utils import files
from utils.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Encoder(Generator):
    """An autoencoder in the form of a ``Generator``; it cannot draw."""

    path: Path
    kind: ClassVar[str] = "vae"
    file: ClassVar[str] = latents.FACTS

    @property
    def sha256(self) -> str:
        return files.folder_sha256(self.path)

    def network(self, raw: bool = False) -> nn.Module:
        return self.codec().vae

    def blank(self) -> nn.Module:
        return nn.Module()

    def _empty(self) -> nn.Module:
        return nn.Module()

    def write(self, folder: Path, model: nn.Module, average: Weights | None, stamp: dict[str, Any]) -> None:
        files.write_json(folder / latents.FACTS, stamp)

    def check(self, info: DatasetInfo, flag: str) -> None:
        factor = self.codec().factor
        if not info.source.pixels:
            raise UsageError(f"--dataset {info.source.name}: is encoded already")
        if info.side % factor:
            raise UsageError(f"--input_size {info.side}: must be a multiple of {factor} for {flag}")

    def codec(self) -> Latents:
        return autoencoder(self.path, f"--vae {self.path}")


def new(vae: str | None) -> Encoder:
    """The autoencoder in the folder that ``--vae`` names. Raises UsageError: there is none."""
    return Encoder(path=vae_folder(vae), schedule=Schedule(), averaged=False, extra={})
