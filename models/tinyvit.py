"""TinyViT-11M (Wu et al. 2022), as timm has it, for images of any side.

Its attention works in windows of 7 or 14 tokens. On small images a whole map is smaller: at 32 pixels the maps have
4, 2 and 1 tokens a side. As published, such a map is padded with zeros up to the window, and the tokens attend to the
padding. Here the window shrinks to the map instead. The parameters are the same, and their names are timm's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models import timm_models
from models.architectures import architecture
from models.normalize import normalize_first
from models.parts import with_methods
from models.resnet import BasicBlock, ResNet

NAME = "tiny_vit_11m_224"


@architecture("tinyvit_11m", needs="timm")
def tinyvit_11m(classes: int, size: int = 224, compat: str = "fixed") -> nn.Module:
    """TinyViT-11M with new weights.

    With ``compat`` "reference", a seed gives the weights of Deep Unlearn's stored initialisations, windows are padded,
    and the attention biases get no gradient in eval mode.
    """
    if compat == "reference":
        # The benchmark draws the weights of this network first, which advances the random numbers.
        ResNet(BasicBlock, (2, 2, 2, 2), classes, imagenet_stem=True)
    return normalize_first(fitted(timm_models.create(NAME, classes, "--arch tinyvit_11m"), size, compat))


def fitted(model: Any, size: int, compat: str) -> nn.Module:
    """timm's TinyViT for images of ``size`` x ``size`` pixels, changed in place; see ``tinyvit_11m``."""
    side = -(-size // 4)  # after the two strided convolutions of the patch embedding
    for stage in model.stages[1:]:
        side = -(-side // 2)
        for block in stage.blocks:
            if compat == "reference":
                with_methods(block.attn, get_attention_biases=_not_learned_in_eval_mode)
            elif side < block.window_size:
                _shrink_window(block, side)
    return model


def _shrink_window(block: Any, side: int) -> None:
    """Give a block windows of ``side`` x ``side`` tokens; it keeps the biases of offsets that no longer occur."""
    apart = (torch.arange(side)[:, None] - torch.arange(side)).abs()
    # One bias for each distance in rows and columns of the published window, row by row.
    places = apart[:, None, :, None] * block.window_size + apart[None, :, None, :]
    block.attn.attention_bias_idxs = places.reshape(side**2, side**2)
    block.attn.resolution = (side, side)
    block.window_size = side


def _not_learned_in_eval_mode(attention: Any, device: torch.device) -> Tensor:
    """The attention biases of all pairs of tokens, float [heads, tokens, tokens], with zero gradient in eval mode."""
    biases = attention.attention_biases[:, attention.attention_bias_idxs]
    return biases if attention.training else biases.detach() + 0 * biases
