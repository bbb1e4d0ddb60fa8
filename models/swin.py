"""Swin-T (Liu et al., 2021) in the form that the field trains on CIFAR: windows of 4 tokens, stride 8 in all.

The sides of the four stages are 1/2, 1/4, 1/8 and 1/8 of the image's, so an image's side is a multiple
of 32 pixels; the weights do not depend on it. All heads of a layer share one table of relative
positions, and the masks of shifted windows are part of the state dict. They are constants: buffers
here, under the keys at which the field's checkpoints hold parameters. With the ImageNet stem it is
torchvision's, for ImageNet: patches of 4 pixels and windows of 7 tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architectures import architecture
from models.normalize import Normalize, normalize_first


class Residual(nn.Module):
    """x + fn(x)."""

    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(x)


class PreNorm(nn.Module):
    """fn(layer norm of x), over the last axis."""

    def __init__(self, width: int, fn: nn.Module):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class FeedForward(nn.Module):
    """Two linear layers around a GELU, four times as wide in between."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class WindowAttention(nn.Module):
    """Self-attention inside each square of ``window`` x ``window`` tokens.

    Shape: float [B, H, W, width] in and out; H and W are multiples of ``window``.

    Args:
        shifted: move the squares by half a window, cyclically. Masks of 0 and -inf, [window^2, window^2], keep
            tokens apart that the shift has brought together from opposite borders: one mask for the last row of
            windows, one for the last column.
    """

    upper_lower_mask: Tensor
    left_right_mask: Tensor
    _down: Tensor
    _right: Tensor

    def __init__(self, width: int, heads: int, window: int, shifted: bool):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, window // 2 if shifted else 0
        row, column = torch.arange(window).repeat_interleave(window), torch.arange(window).repeat(window)
        if shifted:
            self.register_buffer("upper_lower_mask", _barrier(row < window - self.shift))
            self.register_buffer("left_right_mask", _barrier(column < window - self.shift))
        self.pos_embedding = nn.Parameter(torch.randn(2 * window - 1, 2 * window - 1))
        self.register_buffer("_down", row[None, :] - row[:, None] + window - 1, persistent=False)
        self.register_buffer("_right", column[None, :] - column[:, None] + window - 1, persistent=False)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, rows, columns, channels = x.shape
        grid = (rows // self.window, columns // self.window)
        x = x.roll((-self.shift, -self.shift), (1, 2))
        parts = self.to_qkv(x).reshape(batch, grid[0], self.window, grid[1], self.window, 3, self.heads, -1)
        query, key, value = parts.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(
            5, 6
        )  # each [B, *grid, heads, window^2, channels / heads]
        scores = query @ key.transpose(-2, -1) / math.sqrt(channels // self.heads) + self._bias(grid)
        mixed = (scores.softmax(-1) @ value).unflatten(4, (self.window, self.window)).permute(0, 1, 4, 2, 5, 3, 6)
        return self.to_out(mixed.reshape(x.shape)).roll((self.shift, self.shift), (1, 2))

    def _bias(self, grid: tuple[int, int]) -> Tensor:
        """Biases of relative positions plus masks, to be added to the scores: [*grid, 1, window^2, window^2]."""
        bias = self.pos_embedding[self._down, self._right].repeat(*grid, 1, 1, 1)
        if self.shift:
            bias[-1] += self.upper_lower_mask
            bias[:, -1] += self.left_right_mask
        return bias

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Masks first, as in the field's checkpoints; PyTorch would write the parameters first."""
        if self.shift:
            destination[prefix + "upper_lower_mask"] = destination[prefix + "left_right_mask"] = None
        super()._save_to_state_dict(destination, prefix, keep_vars)


def _barrier(side: Tensor) -> Tensor:
    """0 between two tokens on the same side, -inf between others; ``side`` is bool, one per token."""
    return torch.zeros(len(side), len(side)).masked_fill(side[:, None] != side, -torch.inf)


class PatchMerging(nn.Module):
    """Squares of ``factor`` x ``factor`` pixels, channel by channel, through one linear layer.

    Shape: float [B, C, H, W] to [B, H / factor, W / factor, width].
    """

    def __init__(self, inputs: int, width: int, factor: int):
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(inputs * factor**2, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(F.pixel_unshuffle(x, self.factor).permute(0, 2, 3, 1))


class Stage(nn.Module):
    """Patch merging, then ``depth`` blocks in pairs of a plain and a shifted one; [B, C, H, W] in and out."""

    def __init__(self, inputs: int, width: int, depth: int, heads: int, factor: int, window: int):
        super().__init__()
        self.patch_partition = PatchMerging(inputs, width, factor)
        self.layers = nn.ModuleList(
            nn.Sequential(*(Block(width, heads, window, shifted) for shifted in (False, True)))
            for _ in range(depth // 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_partition(x)
        for pair in self.layers:
            x = pair(x)
        return x.permute(0, 3, 1, 2)


class Block(nn.Module):
    """Window attention and a feed-forward network, each with layer norm before it and a shortcut around it."""

    def __init__(self, width: int, heads: int, window: int, shifted: bool):
        super().__init__()
        self.attention_block = Residual(PreNorm(width, WindowAttention(width, heads, window, shifted)))
        self.mlp_block = Residual(PreNorm(width, FeedForward(width)))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp_block(self.attention_block(x))


class Swin(nn.Module):
    """Four stages, the mean over all tokens, layer norm and a linear head.

    Args:
        classes: number of outputs.
        widths, depths, heads, factors: one number per stage: channels, blocks (an even number), attention heads, and by
            how much the stage divides the side of the map.
        window: side of a window in tokens.
        normalizes: whether ``normalize`` is applied; the reference has this layer but never applies it.
    Raises:
        ValueError: in ``forward``, if a side of the images is no multiple of ``window`` times all factors.
    """

    stage1: Stage
    stage2: Stage
    stage3: Stage
    stage4: Stage

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        factors: Sequence[int] = (2, 2, 2, 1),
        window: int = 4,
        normalizes: bool = True,
    ):
        super().__init__()
        self.multiple, self.normalizes = window * math.prod(factors), normalizes
        for index, inputs in enumerate((3, *widths[:3])):
            stage = Stage(inputs, widths[index], depths[index], heads[index], factors[index], window)
            setattr(self, f"stage{index + 1}", stage)
        self.mlp_head = nn.Sequential(nn.LayerNorm(widths[3]), nn.Linear(widths[3], classes))
        self.normalize = Normalize()

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2] % self.multiple or images.shape[3] % self.multiple:
            raise ValueError(f"the side must be a multiple of {self.multiple}")
        x = self.normalize(images) if self.normalizes else images
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return self.mlp_head(x.mean((2, 3)))


@architecture("swin_t")
def swin_t(classes: int, compat: str = "fixed") -> nn.Module:
    return Swin(classes, normalizes=compat == "fixed")


@architecture("swin_t", imagenet_stem=True)
def swin_t_imagenet(classes: int) -> nn.Module:
    from torchvision.models import swin_t as published  # here, because it takes a second

    return normalize_first(published(num_classes=classes))
