"""Reads Facebook's original weights of DiT, such as ``DiT-XL-2-256x256.pt``, into diffusers' network.

Source: Peebles and Xie 2023 (DiT), released weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generation import transformer
from generation.autoencoders import vae_folder
from generation.facebook_names import POSITIONS, renamed
from generation.generator import Weights
from generation.schedule import Schedule
from generation.transformer import DiT, Transformer
from utils import files, torch_files
from utils.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Original(Transformer):
    """A generator from a file of Facebook's weights.

    Attributes:
        weights: tensors under the parameter names of ``transformer.DiT``.
    """

    weights: Weights

    @property
    def sha256(self) -> str:
        assert self.path is not None
        return files.sha256(self.path)

    def network(self, raw: bool = False) -> DiT:
        model = self._empty()
        model.load_state_dict(self.weights)
        return model

    @property
    def origin(self) -> Path | None:
        return None


def read(path: Path, vae: str | None, heads: int, allow_pickle: bool = False) -> Original:
    """Read a file of weights in Facebook's form, original or fine-tuned; the moving average if it holds one.

    Args:
        vae: folder of the autoencoder.
        heads: number of attention heads, which does not follow from the weights.
        allow_pickle: whether the file may hold more than plain tensors.
    Raises:
        UsageError: the file is missing or damaged, or its keys, shapes or position table are not those of a DiT.
    """
    flag = f"--model {path}"
    content = torch_files.load(path, flag, allow_pickle)
    for entry in ("ema", "model"):
        content = content[entry] if isinstance(content, dict) and entry in content else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(f"{flag}: holds no weights of a diffusion transformer")
    torch_files.check_tensors(content, flag, None)
    state = {key.removeprefix("module."): value.float() for key, value in content.items()}
    try:
        config, weights, positions = _config(state, heads), renamed(state), state[POSITIONS]
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(f"{flag}: lacks {error}; holds no whole diffusion transformer of Facebook's form") from error
    if config["num_attention_heads"] * config["attention_head_dim"] != positions.shape[-1]:
        raise UsageError(f"--heads {heads}: must divide {positions.shape[-1]}, the width of the network in {path}")
    model = DiT.from_config(config).tie()
    own = {key: value.shape for key, value in model.state_dict().items()}
    held = {key: value.shape for key, value in weights.items()}
    wrong = [key for key in {**own, **held} if own.get(key) != held.get(key)]
    if wrong:
        raise UsageError(f"{flag}: has other weights than such a network ({len(wrong)} differ: {wrong[0]}, ...)")
    if not torch.allclose(positions, model.pos_embed.pos_embed, atol=1e-4):
        raise UsageError(f"{flag}: has another table of positions than sines and cosines; it cannot be converted")
    folder = vae_folder(vae)
    common: dict[str, Any] = {"schedule": Schedule(), "averaged": False, "extra": {}, "config": config}
    return Original(path=path, vae=folder, weights=weights, **common)


def _config(state: Weights, heads: int) -> dict[str, Any]:
    """diffusers' configuration for weights under Facebook's names, read from their shapes."""
    width, channels, patch, _ = state["x_embedder.proj.weight"].shape
    layers = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    side = round(state[POSITIONS].shape[1] ** 0.5) * patch
    classes = len(state["y_embedder.embedding_table.weight"]) - 1
    return transformer.configured(layers, heads, width // heads, patch, side, channels, classes)
