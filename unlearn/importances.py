"""Stored importances of weights over all training images: SSD need not find them again for every request to forget."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer.network import Network
from utils import files, torch_files
from utils.errors import UsageError


def write(path: Path, kind: str, values: dict[str, Tensor], model: nn.Module, images: int) -> None:
    """Store importances beside what they are of: a kind, a model and a number of images.

    Args:
        kind: "SSD" or "LFSSD".
        values: float, by parameter name.
    """
    content = {"importances": kind, "weights": weights_of(model), "images": images}
    content["values"] = {name: value.cpu().contiguous() for name, value in values.items()}
    files.write_bytes(path, files.torch_bytes(content))


def read(path: Path, kind: str, model: nn.Module, images: int | None = None) -> dict[str, Tensor]:
    """Importances by parameter name, on the CPU.

    Args:
        kind: the one that is wanted.
        model: whose they must be.
        images: in the retain and forget set together, over which they must be; without it the model may have any
            weights of its architecture.
    Raises:
        UsageError: says what the file is, or of which other model or images.
    """
    flag = f"--importances {path}"
    content = torch_files.load(path, flag, model=model)
    if not isinstance(content, Mapping) or not isinstance(content.get("values"), Mapping):
        raise UsageError(f"{flag}: holds no importances; make them with main_saliency.py --saliency {kind}")
    if content.get("importances") != kind:
        raise UsageError(f"{flag}: holds importances of {content.get('importances')}, not of {kind}")
    values, shapes = dict(content["values"]), {name: value.shape for name, value in model.named_parameters()}
    torch_files.check_tensors(values, flag, model)
    if {name: value.shape for name, value in values.items()} != shapes:
        raise UsageError(f"{flag}: is of another architecture")
    if images is not None and content.get("weights") != weights_of(model):
        raise UsageError(f"{flag}: is of a model with other weights; make it anew with this --mask")
    if images is not None and content.get("images") != images:
        raise UsageError(
            f"{flag}: is over {content.get('images')} images, and this split has {images} training images; "
            "make it anew with this split"
        )
    return values


def check(hyper: Any, network: Network) -> str | None:
    """SHA-256 of the file that ``--importances`` names; None without the flag.

    Args:
        hyper: the method's configuration.
        network: the architecture.
    Raises:
        UsageError: the file cannot be used, whatever the model's weights are.
    """
    path = getattr(hyper, "importances", None)
    if path is None:
        return None
    if hyper.importance == "batches":
        raise UsageError("--importances: are means over single images; leave out --importance batches")
    read(Path(path), hyper.kind, network.blank())
    return files.sha256(Path(path))


def weights_of(model: nn.Module) -> str:
    """SHA-256 of all parameters, in order."""
    digest = hashlib.sha256()
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
