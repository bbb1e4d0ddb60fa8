"""Converts between images and what a diffusion model denoises: the pixels themselves, or a VAE's latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.task import Batch


class Codec:
    """For models that denoise pixels, scaled to [-1, 1]."""

    def clean(self, batch: Batch) -> Tensor:
        """What the model denoises, float [B, C, H, W], of a batch's float images [B, C, H, W] in [0, 1]."""
        return 2 * batch.inputs - 1

    def shape(self, inputs: Sequence[int]) -> tuple[int, ...]:
        """The shape of ``clean`` for inputs of this shape."""
        return tuple(inputs)

    def pixels(self, clean: Tensor) -> Tensor:
        """Images, uint8 [B, 3, H, W], of the denoised tensors [B, C, H, W]."""
        return to_pixels(clean)

    def to(self, device: torch.device) -> Codec:
        """A codec that works on ``device``."""
        return self


@dataclass(frozen=True)
class Latents(Codec):
    """For models that denoise latents of a frozen autoencoder.

    Images are encoded each time they are needed, with a new draw from the encoder's normal distribution. Inputs with
    twice as many channels as a latent are taken for such distributions (mean and standard deviation), encoded before.

    Args:
        vae: diffusers' ``AutoencoderKL``.
    Source: Rombach et al. 2022 (latent diffusion), section 3.1.
    """

    vae: Any

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return self.vae.config.latent_channels

    @property
    def factor(self) -> int:
        """Side of an image in pixels divided by the side of its latent."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def clean(self, batch: Batch) -> Tensor:
        """Scaled latents, float [B, channels, H, W], of a batch's images or encoded distributions."""
        inputs = batch.inputs
        moments = inputs if inputs.shape[1] == 2 * self.channels else self.moments(inputs)
        mean, deviation = moments.chunk(2, 1)
        return (mean + deviation * batch.draw(torch.randn, mean.shape)) * self.vae.config.scaling_factor

    @torch.no_grad()
    def moments(self, images: Tensor) -> Tensor:
        """Mean and standard deviation of the latents of images, float [B, 2 * channels, H, W].

        Args:
            images: float [B, 3, H * factor, W * factor] in [0, 1].
        """
        latents = self.vae.encode(2 * images - 1).latent_dist
        return torch.cat([latents.mean, latents.std], 1)

    def shape(self, inputs: Sequence[int]) -> tuple[int, ...]:
        sides = inputs[2:] if inputs[1] == 2 * self.channels else [side // self.factor for side in inputs[2:]]
        return (inputs[0], self.channels, *sides)

    @torch.no_grad()
    def pixels(self, clean: Tensor) -> Tensor:
        return to_pixels(self.vae.decode(clean / self.vae.config.scaling_factor).sample)

    def to(self, device: torch.device) -> Latents:
        return Latents(self.vae.to(device))


def to_pixels(pictures: Tensor) -> Tensor:
    """Floats in [-1, 1] to uint8 in [0, 255], of any shape; values outside are clipped, no picture is stretched."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
