"""The frozen autoencoder (VAE) of the back ends ``dit`` and ``sd``."""

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
    """The autoencoder in a folder, in eval mode and frozen. The last two are cached.

    Args:
        folder: of a diffusers ``AutoencoderKL``.
        flag: the flag with its value, with which error messages begin.
    Raises:
        UsageError: there is none, or it is damaged.
    """
    vae = folders.part(AutoencoderKL, folder.parent, folder.name, flag)
    return Latents(vae.eval().requires_grad_(False))


def vae_folder(path: str | None) -> Path:
    """The folder of the autoencoder: ``path``, or its subfolder ``vae`` if it is that of a pipeline.

    Args:
        path: the value of ``--vae``.
    Raises:
        UsageError: the flag is missing, or the folder holds no network.
    """
    if path is None:
        raise UsageError("--vae FOLDER is needed: the autoencoder of the latents (a diffusers AutoencoderKL)")
    folder = next((place for place in (Path(path), Path(path) / VAE) if (place / folders.CONFIG).is_file()), None)
    if folder is None:
        raise UsageError(f"--vae {path}: lacks {folders.CONFIG}; is no folder of an AutoencoderKL of diffusers")
    return folder


def check_made(info: DatasetInfo, vae: Path) -> None:
    """Refuse a data set of latents that another autoencoder has made.

    Args:
        vae: the folder of the autoencoder.
    Raises:
        UsageError: the digests differ; the message names both folders.
    """
    if not info.source.pixels and latents.facts(info.root)["vae"] != files.folder_sha256(vae):
        raise UsageError(f"--data {info.root}: its latents were not made by the autoencoder in {vae}; encode them anew")
