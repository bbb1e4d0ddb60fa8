"""What a model is worth that guesses the variance of its steps too: the variational bound, in bits."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from generation.schedule import Schedule

HALF_LEVEL = 1 / 255  # half the distance of two levels of brightness, on [-1, 1]


def bits(schedule: Schedule, guess: Tensor, noisy: Tensor, times: Tensor, noise: Tensor) -> Tensor:
    """The bound's term of each sample's time, in bits per number of what is denoised: float [B].

    The guessed noise is held constant, so the slope is by the guessed variance alone. At time 0 the term is minus the
    log-likelihood of the clean image, its numbers taken as levels of brightness; elsewhere the divergence of the true
    step backwards from the guessed one.

    Args:
        guess: [B, 2 * C, H, W]: the noise, then v; the log variance lies between the true step's for v = -1 and that
            of the added noise for v = 1.
        noisy: what was guessed at, [B, C, H, W].
        noise: the true noise in it.
    Source: Nichol and Dhariwal 2021 (improved DDPM), eq. 13 to 16, weighted as in Peebles and Xie 2023 (DiT).
    """
    guessed, v = guess.chunk(2, 1)
    alpha_bar, low, high, from_clean, from_noisy = (
        table[times].view(-1, *[1] * (noisy.ndim - 1)).to(noisy) for table in _tables(schedule, noisy.device)
    )
    clean, seen = ((noisy - (1 - alpha_bar).sqrt() * part) / alpha_bar.sqrt() for part in (noise, guessed.detach()))
    true, mean = (from_clean * part + from_noisy * noisy for part in (clean, seen))
    share = (v + 1) / 2
    log_variance = share * high + (1 - share) * low
    divergence = (log_variance - low + torch.exp(low - log_variance) - 1) / 2
    divergence = divergence + (true - mean).square() * torch.exp(-log_variance) / 2
    first = (times == 0).view(-1, *[1] * (noisy.ndim - 1))
    terms = torch.where(first, -log_likelihood(clean, mean, log_variance / 2), divergence)
    return terms.flatten(1).mean(1) / math.log(2)


def log_likelihood(levels: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Of levels of brightness, 256 from -1 to 1, under a normal distribution: the log of the mass around each.

    The first and the last level have all that lies beyond them.
    """
    normal = torch.distributions.Normal(0.0, 1.0, validate_args=False)
    centred, scale = levels - mean, torch.exp(-log_deviation)
    above, below = normal.cdf(scale * (centred + HALF_LEVEL)), normal.cdf(scale * (centred - HALF_LEVEL))
    mass = torch.where(levels < -0.999, above, torch.where(levels > 0.999, 1 - below, above - below))
    return mass.clamp(min=1e-12).log()


@functools.lru_cache(maxsize=16)
def _tables(schedule: Schedule, device: torch.device) -> tuple[Tensor, ...]:
    """By time, float32 [T]: what is kept, the least and largest log variance, and the true step's two weights."""
    betas = schedule.betas().double()
    alpha_bar = (1 - betas).cumprod(0)
    before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    least = betas * (1 - before) / (1 - alpha_bar)
    low = torch.cat([least[1:2], least[1:]]).log()  # the first is 0, whose log is that of its neighbour
    from_clean = betas * before.sqrt() / (1 - alpha_bar)
    from_noisy = (1 - before) * (1 - betas).sqrt() / (1 - alpha_bar)
    return tuple(table.float().to(device) for table in (alpha_bar, low, betas.log(), from_clean, from_noisy))
