"""Files of importances over all training images, which SSD then need not compute for every request to forget."""

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
    """Store importances, together with their kind, a digest of the model's weights and the number of images.

    Args:
        path: the file.
        kind: "SSD" or "LFSSD".
        values: float tensors by parameter name, in the parameters' shapes.
        model: the model that they were computed for.
        images: number of images that they were computed over.
    """
    content = {"importances": kind, "weights": weights_of(model), "images": images}
    content["values"] = {name: value.cpu().contiguous() for name, value in values.items()}
    files.write_bytes(path, files.torch_bytes(content))


def read(path: Path, kind: str, model: nn.Module, images: int | None = None) -> dict[str, Tensor]:
    """Read importances: float tensors by parameter name, on the CPU.

    Args:
        path: the file.
        kind: the kind that is expected, "SSD" or "LFSSD".
        model: the model that they must belong to.
        images: the number of images that they must have been computed over, those of retain and forget set together.
            None checks neither this nor the model's weights, only its architecture.
    Raises:
        UsageError: the file is of another kind, or belongs to another model or other images.
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
    """Check the file that ``--importances`` names, as far as this is possible without the model's weights.

    Args:
        hyper: the method's configuration.
        network: the architecture.
    Returns:
        SHA-256 of the file; None without the flag.
    Raises:
        UsageError: the file cannot be used.
    """
    path = getattr(hyper, "importances", None)
    if path is None:
        return None
    if hyper.importance == "batches":
        raise UsageError("--importances: are means over single images; leave out --importance batches")
    read(Path(path), hyper.kind, network.blank())
    return files.sha256(Path(path))


def weights_of(model: nn.Module) -> str:
    """SHA-256 over the bytes of all parameters, in order."""
    digest = hashlib.sha256()
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
