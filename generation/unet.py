"""The class-conditional U-Net of DDPM unlearning, with the parameter names of the reference code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6  # of every group norm
WAVELENGTH = 10_000.0  # ratio of the longest to the shortest wavelength of the time embedding


@dataclass(frozen=True)
class Shape:
    """The size of a network.

    Attributes:
        width: channels at the finest level, ``ch`` in the reference.
        multipliers: channels of every level divided by ``width``; each level halves the side of the one before.
        blocks: residual blocks of every level on the way down; one more on the way up.
        attention: sides in pixels of the levels with attention.
        size: side of the images in pixels.
        channels: of the images.
        classes: number of classes.
        groups: of every group norm; all channel numbers are multiples of it. The reference has 32.
        dropout: share of a residual block's inputs to its second convolution that is zero while training.
    """

    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (16,)
    size: int = 32
    channels: int = 3
    classes: int = 10
    groups: int = 32
    dropout: float = 0.1


class ConditionalUNet(nn.Module):
    """Predicts the noise in an image from its class and its time.

    Embeddings of time and class are concatenated and shift every residual block. A sample whose class is
    dropped has a learned null vector in the place of its class's row.

    Source: Ho et al. 2020 (DDPM); Ho and Salimans 2021 (dropped classes); Heng and Soh 2023 (this form).
    """

    down: Any  # lists of ``Level``
    up: Any

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape, width = shape, shape.width
        self.null_classes_emb = nn.Parameter(torch.randn(width))
        self.temb = Dense(width)
        self.classes_emb = nn.Embedding(shape.classes, width)
        self.cemb = Dense(width)
        self.conv_in = nn.Conv2d(shape.channels, width, 3, padding=1)
        widths = [width * multiplier for multiplier in shape.multipliers]
        sides = [shape.size // 2**level for level in range(len(widths))]
        skips, channels, down = [width], width, []
        for level, (wide, side) in enumerate(zip(widths, sides)):
            last = level == len(widths) - 1
            inputs = [channels, *[wide] * (shape.blocks - 1)]
            down.append(Level(shape, inputs, wide, side, None if last else "downsample"))
            skips += [wide] * (shape.blocks + (not last))
            channels = wide
        self.down = nn.ModuleList(down)
        self.mid = nn.ModuleDict(
            {
                "block_1": Residual(shape, channels, channels),
                "attn_1": Attention(shape, channels),
                "block_2": Residual(shape, channels, channels),
            }
        )
        up = []
        for level, (wide, side) in reversed(list(enumerate(zip(widths, sides)))):
            inputs = [first + skips.pop() for first in (channels, *[wide] * shape.blocks)]
            up.append(Level(shape, inputs, wide, side, "upsample" if level else None))
            channels = wide
        self.up = nn.ModuleList(reversed(up))
        self.norm_out = norm(shape, channels)
        self.conv_out = nn.Conv2d(channels, shape.channels, 3, padding=1)

    @property
    def noisy(self) -> tuple[int, int, int]:
        """Channels, height and width of what is denoised."""
        return self.shape.channels, self.shape.size, self.shape.size

    def forward(self, noisy: Tensor, times: Tensor, classes: Tensor, keep: Tensor | None = None) -> Tensor:
        """The noise, float [B, C, H, W].

        Args:
            noisy: float [B, C, H, W].
            times: [B], 0 for the least noise.
            classes: int64 [B].
            keep: bool [B], False where the class is dropped; None keeps all.
        """
        rows = self.classes_emb(classes)
        if keep is not None:
            rows = torch.where(keep[:, None], rows, self.null_classes_emb)
        embedding = F.silu(torch.cat([self.temb(waves(times, self.shape.width)), self.cemb(rows)], dim=1))
        h = self.conv_in(noisy)
        skips = [h]
        for level in self.down:
            for number in range(len(level.block)):
                h = level.step(number, h, embedding)
                skips.append(h)
            if level.downsample is not None:
                h = level.downsample(h)
                skips.append(h)
        h = self.mid["block_2"](self.mid["attn_1"](self.mid["block_1"](h, embedding)), embedding)
        for level in reversed(self.up):
            for number in range(len(level.block)):
                h = level.step(number, torch.cat([h, skips.pop()], dim=1), embedding)
            if level.upsample is not None:
                h = level.upsample(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Dense(nn.Module):
    """Two linear layers from an embedding of ``width`` channels to four times as many."""

    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)])

    def forward(self, embedding: Tensor) -> Tensor:
        """Map float [B, width] to [B, 4 * width]."""
        return self.dense[1](F.silu(self.dense[0](embedding)))


class Level(nn.Module):
    """Residual blocks of one resolution with their attention, and the change to the next resolution.

    Args:
        shape: the size of the whole network.
        inputs: input channels of each block.
        width: output channels of each block.
        side: of the level's images in pixels.
        onward: "downsample", "upsample" or None.
    """

    def __init__(self, shape: Shape, inputs: list[int], width: int, side: int, onward: str | None):
        super().__init__()
        attends = side in shape.attention
        self.block = nn.ModuleList([Residual(shape, channels, width) for channels in inputs])
        self.attn = nn.ModuleList([Attention(shape, width) for _ in inputs] if attends else [])
        self.downsample = Downsample(width) if onward == "downsample" else None
        self.upsample = Upsample(width) if onward == "upsample" else None

    def step(self, number: int, h: Tensor, embedding: Tensor) -> Tensor:
        """Apply one residual block, followed by attention if the level has any."""
        h = self.block[number](h, embedding)
        return self.attn[number](h) if len(self.attn) else h


class Residual(nn.Module):
    """Two convolutions with a shortcut; time and class shift every channel between them."""

    def __init__(self, shape: Shape, inputs: int, outputs: int):
        super().__init__()
        self.norm1, self.conv1 = norm(shape, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.temb_cemb_proj = nn.Linear(8 * shape.width, outputs)
        self.norm2, self.dropout = norm(shape, outputs), nn.Dropout(shape.dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Map float [B, inputs, H, W] and the embedding [B, 8 * width] to [B, outputs, H, W]."""
        inner = self.conv1(F.silu(self.norm1(h))) + self.temb_cemb_proj(embedding)[:, :, None, None]
        inner = self.conv2(self.dropout(F.silu(self.norm2(inner))))
        return inner + (h if self.nin_shortcut is None else self.nin_shortcut(h))


class Attention(nn.Module):
    """One head of attention over all positions, added to its input."""

    def __init__(self, shape: Shape, channels: int):
        super().__init__()
        self.norm = norm(shape, channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, h: Tensor) -> Tensor:
        """Map float [B, channels, H, W] to the same shape."""
        normed = self.norm(h)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        return h + self.proj_out(mixed.reshape(h.shape))


class Downsample(nn.Module):
    """Halves the side by a strided convolution that pads only at the right and the bottom."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, h: Tensor) -> Tensor:
        """Map float [B, channels, H, W] to [B, channels, H / 2, W / 2]."""
        return self.conv(F.pad(h, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the side by repeating pixels, then applies a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Map float [B, channels, H, W] to [B, channels, 2 H, 2 W]."""
        return self.conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))


def norm(shape: Shape, channels: int) -> nn.GroupNorm:
    """The network's group norm for this many channels."""
    return nn.GroupNorm(shape.groups, channels, eps=EPS)


def waves(times: Tensor, width: int) -> Tensor:
    """The sinusoidal embedding of times [B]: sines, then cosines, of ``width / 2`` wavelengths, float [B, width]."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=times.device)
    angles = times.float()[:, None] * torch.exp(steps * (-math.log(WAVELENGTH) / (half - 1)))[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def plain_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict, Fisher information or mask without the prefix "module." that the reference code's files have."""
    return {key.removeprefix("module."): value for key, value in state.items()}
