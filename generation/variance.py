"""The variational bound, in bits, for models that also predict the variance of their steps."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from generation.schedule import Schedule

HALF_LEVEL = 1 / 255  # half the distance between two of 256 levels of brightness in [-1, 1]


def bits(schedule: Schedule, guess: Tensor, noisy: Tensor, times: Tensor, noise: Tensor) -> Tensor:
    """The term of the bound at each sample's time, in bits per channel and pixel: float [B].

    The predicted noise is detached, so the gradient acts on the predicted variance only. At time 0 the term is the
    negative log-likelihood of the clean image, whose numbers are taken as levels of brightness. At other times it is
    the KL divergence of the true backward step from the predicted one.

    Args:
        schedule: the noise at every time.
        guess: the model's output [B, 2 * C, H, W]: noise, then v. The log variance is interpolated between that of the
            true backward step (v = -1) and that of the noise added forward (v = 1).
        noisy: the model's input, [B, C, H, W].
        times: int64 [B].
        noise: the true noise in it, [B, C, H, W].
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
    """Log-likelihood of levels of brightness under a normal distribution: the log of the probability mass around each.

    The first and the last level get all mass beyond them. All arguments have one shape, also the result.

    Args:
        levels: 256 equidistant values from -1 to 1.
        mean: of the distribution.
        log_deviation: logarithm of its standard deviation.
    """
    normal = torch.distributions.Normal(0.0, 1.0, validate_args=False)
    centred, scale = levels - mean, torch.exp(-log_deviation)
    above, below = normal.cdf(scale * (centred + HALF_LEVEL)), normal.cdf(scale * (centred - HALF_LEVEL))
    mass = torch.where(levels < -0.999, above, torch.where(levels > 0.999, 1 - below, above - below))
    return mass.clamp(min=1e-12).log()


@functools.lru_cache(maxsize=16)
def _tables(schedule: Schedule, device: torch.device) -> tuple[Tensor, ...]:
    """Tables by time, float32 [T] each.

    They are alpha_bar, the smallest and the largest log variance, and the weights of clean and noisy image in the mean
    of the true backward step.
    """
    betas = schedule.betas().double()
    alpha_bar = (1 - betas).cumprod(0)
    before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    least = betas * (1 - before) / (1 - alpha_bar)
    low = torch.cat([least[1:2], least[1:]]).log()  # the first variance is 0, in place of whose log the next is taken
    from_clean = betas * before.sqrt() / (1 - alpha_bar)
    from_noisy = (1 - before) * (1 - betas).sqrt() / (1 - alpha_bar)
    return tuple(table.float().to(device) for table in (alpha_bar, low, betas.log(), from_clean, from_noisy))
