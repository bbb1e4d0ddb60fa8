"""The frozen autoencoder of ``dit`` and ``sd``."""

from __future__ import annotations

import functools
from pathlib import Path

from diffusers import AutoencoderKL

from dataset.named import latents
from dataset.prepare import DatasetInfo
from generation import folders
from generation.codec import Latents
from utils import files
from utils.errors import UsageError

VAE = "vae"


@functools.lru_cache(maxsize=2)
def autoencoder(folder: Path, flag: str) -> Latents:
    """The autoencoder of a folder.

    Args:
        flag: begins the error.
    Raises:
        UsageError: there is none, or none that is whole.
    """
    vae = folders.part(AutoencoderKL, folder.parent, folder.name, flag)
    return Latents(vae.eval().requires_grad_(False))


def vae_folder(path: str | None) -> Path:
    """The folder of ``--vae``, or its part ``vae`` if it is a pipeline's.

    Raises:
        UsageError: none is typed, or there is no network in it.
    """
    if path is None:
        raise UsageError("--vae FOLDER is needed: the autoencoder of the latents (a diffusers AutoencoderKL)")
    folder = next((place for place in (Path(path), Path(path) / VAE) if (place / folders.CONFIG).is_file()), None)
    if folder is None:
        raise UsageError(f"--vae {path}: lacks {folders.CONFIG}; is no folder of an AutoencoderKL of diffusers")
    return folder


def check_made(info: DatasetInfo, vae: Path) -> None:
    """Refuse latents that another autoencoder has made.

    Raises:
        UsageError: names both.
    """
    if not info.source.pixels and latents.facts(info.root)["vae"] != files.folder_sha256(vae):
        raise UsageError(f"--data {info.root}: its latents were not made by the autoencoder in {vae}; encode them anew")
