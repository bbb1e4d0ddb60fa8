"""Samplers: turn noise into pictures, step by step backwards in time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from generation.schedule import Schedule

OWN = ("generalized", "ddpm")
Predict = Callable[[Tensor, Tensor], Tensor]  # from noisy pictures [B, C, H, W] and times [B] to the noise in them
Draw = Callable[[Tensor], Tensor]  # returns standard normal numbers of the given tensor's shape


def guided(
    model: Callable, noisy: Tensor, times: Tensor, classes: Tensor, strength: float, channels: int | None = None
) -> Tensor:
    """Noise predicted with classifier-free guidance: ``(1 + strength) * conditional - strength * unconditional``.

    Args:
        model: the network, called as ``Generator`` says.
        noisy: noisy pictures [B, C, H, W].
        times: int64 [B].
        classes: int64 [B].
        strength: 0 gives the conditional prediction alone, -1 the unconditional one.
        channels: guidance acts on so many channels from the first, the others are the conditional prediction; None for
            the C channels of the noise.
    Returns:
        The model's output with guidance, with as many channels.
    Source: Ho and Salimans 2021, eq. 6.
    """
    if strength == 0:
        return model(noisy, times, classes, None)
    dropped = model(noisy, times, classes, torch.zeros_like(classes, dtype=torch.bool))
    if strength == -1:
        return dropped
    conditional, part = model(noisy, times, classes, None), noisy.shape[1] if channels is None else channels
    overstated = (1 + strength) * conditional[:, :part] - strength * dropped[:, :part]
    return torch.cat([overstated, conditional[:, part:]], 1) if part < conditional.shape[1] else overstated


def trajectory(
    kind: str, predict: Predict, start: Tensor, times: Sequence[int], schedule: Schedule, draw: Draw, eta: float = 1.0
) -> Iterator[Tensor]:
    """Yield the pictures [B, C, H, W] after every step backwards through ``times``; the last ones are clean.

    Args:
        kind: "generalized" (DDIM for eta 0) or "ddpm".
        predict: the model's prediction of the noise; channels beyond C are ignored.
        start: standard normal numbers [B, C, H, W].
        times: ascending.
        schedule: the noise at every time.
        draw: draws the noise that a step adds. It is not called by "generalized" with eta 0.
        eta: for "generalized", the share of DDPM's noise that every step adds.
    Source: Song et al. 2021 (DDIM), eq. 12 and 16; Ho et al. 2020 (DDPM), algorithm 2.
    """
    picture = start
    for position in reversed(range(len(times))):
        now = torch.full((len(start),), times[position], device=start.device)
        then = torch.full_like(now, times[position - 1] if position else -1)
        noise = predict(picture, now)[:, : picture.shape[1]]
        if kind == "ddpm":
            picture = _ancestral(picture, noise, now, then, schedule, draw)
        else:
            picture = _generalized(picture, noise, now, then, schedule, draw, eta)
        yield picture


def scheduled(
    scheduler: Any, predict: Predict, start: Tensor, count: int, random: torch.Generator, eta: float
) -> Iterator[Tensor]:
    """Yield the pictures [B, C, H, W] after every step of a diffusers scheduler; the last ones are clean.

    Args:
        scheduler: its steps are set anew.
        predict: the model's prediction of noise, with the variance if the scheduler takes a learned one.
        start: standard normal numbers [B, C, H, W].
        count: number of steps.
        random: CPU generator that the steps draw from.
        eta: see ``trajectory``; passed to schedulers that take it.
    """
    scheduler.set_timesteps(count, device=start.device)
    known = inspect.signature(scheduler.step).parameters
    more = {name: value for name, value in (("generator", random), ("eta", eta)) if name in known}
    learned = str(scheduler.config.get("variance_type")).startswith("learned")
    picture = start * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        now = time.expand(len(picture)).to(picture.device)
        guess = predict(scheduler.scale_model_input(picture, time), now)
        guess = guess if learned else guess[:, : picture.shape[1]]
        picture = scheduler.step(guess, time, picture, **more).prev_sample
        yield picture


def _generalized(
    picture: Tensor, noise: Tensor, now: Tensor, then: Tensor, schedule: Schedule, draw: Draw, eta: float
) -> Tensor:
    alpha_bar, next_alpha_bar = (schedule.alpha_bar(times)[:, None, None, None] for times in (now, then))
    clean = (picture - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
    added = eta * ((1 - alpha_bar / next_alpha_bar) * (1 - next_alpha_bar) / (1 - alpha_bar)).sqrt()
    stepped = next_alpha_bar.sqrt() * clean + (1 - next_alpha_bar - added**2).clamp(min=0).sqrt() * noise
    return stepped + added * draw(picture) if eta else stepped


def _ancestral(picture: Tensor, noise: Tensor, now: Tensor, then: Tensor, schedule: Schedule, draw: Draw) -> Tensor:
    alpha_bar, next_alpha_bar = (schedule.alpha_bar(times)[:, None, None, None] for times in (now, then))
    beta = 1 - alpha_bar / next_alpha_bar
    clean = ((1 / alpha_bar).sqrt() * picture - (1 / alpha_bar - 1).sqrt() * noise).clamp(-1, 1)
    mean = (next_alpha_bar.sqrt() * beta * clean + (1 - beta).sqrt() * (1 - next_alpha_bar) * picture) / (1 - alpha_bar)
    adds = (now != 0).to(picture)[:, None, None, None]
    return mean + adds * beta.sqrt() * draw(picture)
