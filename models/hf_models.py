"""Vision transformers of Hugging Face from a folder or the local cache, as ``hf:FOLDER_OR_NAME``.

transformers is imported only for these.

Nothing is downloaded. A folder without weights, such as one that holds nothing but a ``config.json``, gives new ones.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.normalize import Normalize
from utils import files
from utils.errors import UsageError

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def check(source: str) -> None:
    """Raise a ``UsageError`` if transformers is missing or ``source`` is no vision transformer on this machine."""
    _transformers(source)
    try:
        kind = json.loads((_folder(source) / CONFIG).read_text())["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--arch hf:{source}: its {CONFIG} cannot be read ({error})") from error
    if kind != "vit":
        raise UsageError(
            f"--arch hf:{source}: is a model of type {kind}; only vit (ViTForImageClassification) is known"
        )


def build(source: str, classes: int, pretrained: bool = True) -> nn.Module:
    """transformers' ViTForImageClassification under its own keys, with the folder's weights.

    It takes images of any size, which it resizes to its own, and returns logits. The head is new if the folder's head
    has another number of classes. ``model.statistics`` is the mean and standard deviation, by channel, that the
    folder's preprocessor names, or None.

    Args:
        source: a folder, or the name of a model in the local Hugging Face cache.
        pretrained: False initialises all weights anew.
    Raises:
        UsageError: the folder's files do not make such a model.
    """
    transformers, folder = _transformers(source), _folder(source)
    try:
        with _quiet():
            config = transformers.ViTConfig.from_pretrained(folder, num_labels=classes)
            if pretrained and _weights(folder):
                model = transformers.ViTForImageClassification.from_pretrained(
                    folder, config=config, local_files_only=True, ignore_mismatched_sizes=True, dtype=torch.float32
                )
            else:
                model = transformers.ViTForImageClassification(config)
    except Exception as error:  # noqa: BLE001  (whatever transformers raises for a damaged or other model's file)
        raise UsageError(f"--arch hf:{source}: cannot be loaded ({error})") from error
    model.statistics = _statistics(folder)
    return _on_images(model)


def digest(source: str) -> str:
    """SHA-256 over the configuration, preprocessor and weights of ``source``: all that ``build`` depends on."""
    folder, hasher = _folder(source), hashlib.sha256()
    for path in (folder / CONFIG, folder / PREPROCESSOR, *_weights(folder)):
        if path.exists():
            hasher.update(f"{path.name} {files.sha256(path)}\n".encode())
    return hasher.hexdigest()


def _on_images(model: Any) -> nn.Module:
    """Let the model map images in [0, 1], float [N, 3, H, W], to logits, float [N, classes]; in place."""
    parent, size = type(model), model.config.image_size
    side = tuple(size) if isinstance(size, (list, tuple)) else (size, size)

    def forward(self: Any, images: Tensor) -> Tensor:
        if images.shape[-2:] != side:
            images = F.interpolate(images, side, mode="bilinear", antialias=True)
        return parent.forward(self, self.normalize(images)).logits

    model.__class__ = type(f"Normalized{parent.__name__}", (parent,), {"forward": forward})
    model.normalize = Normalize()
    return model


def _folder(source: str) -> Path:
    """The folder itself, or where the local cache keeps the model of that name."""
    folder = Path(source)
    if (folder / CONFIG).is_file():
        return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(source, CONFIG)
    except HFValidationError:  # a path, which is no name of a model
        cached = None
    if not isinstance(cached, str):
        raise UsageError(
            f"--arch hf:{source}: is neither a folder with a {CONFIG} nor in the local Hugging Face cache; "
            "nothing is downloaded "
            "here (hf download NAME fetches a model into the cache)"
        )
    return Path(cached).parent


def _weights(folder: Path) -> list[Path]:
    return sorted(path for pattern in WEIGHTS for path in folder.glob(pattern))


def _statistics(folder: Path) -> tuple[list[float], list[float]] | None:
    try:
        settings = json.loads((folder / PREPROCESSOR).read_text())
        return settings["image_mean"], settings["image_std"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars, and its table of the new head's weights."""
    from transformers.utils import logging as messages

    level, shown = messages.get_verbosity(), messages.is_progress_bar_enabled()
    messages.set_verbosity(logging.ERROR)
    messages.disable_progress_bar()
    try:
        yield
    finally:
        messages.set_verbosity(level)
        if shown:
            messages.enable_progress_bar()


def _transformers(source: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UsageError(f"--arch hf:{source}: transformers is not installed; pip install transformers") from error
    return transformers
