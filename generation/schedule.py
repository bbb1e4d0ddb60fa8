"""Noise schedules: how much noise an image has at every time."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("linear", "quad", "const", "jsd", "sigmoid")


@dataclass(frozen=True)
class Schedule:
    """The noise at every time t = 0 .. T - 1.

    Attributes:
        kind: how the share of noise grows with time, one of ``KINDS``.
        start, end: the smallest and the largest share of noise (beta) that a step adds; not used by "jsd".
        steps: number of times, T.
    Source: Ho et al. 2020 (DDPM), section 4.
    """

    kind: str = "linear"
    start: float = 1e-4
    end: float = 0.02
    steps: int = 1000

    def betas(self) -> Tensor:
        """The share of noise (beta) that every step adds, float32 [T]."""
        start, end, steps = self.start, self.end, self.steps
        if self.kind == "jsd":
            return (1 / torch.arange(steps, 0, -1, dtype=torch.float64)).float()
        grid = {
            "linear": lambda: torch.linspace(start, end, steps, dtype=torch.float64),
            "quad": lambda: torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square(),
            "const": lambda: torch.full((steps,), end, dtype=torch.float64),
            "sigmoid": lambda: torch.linspace(-6, 6, steps, dtype=torch.float64).sigmoid() * (end - start) + start,
        }[self.kind]
        return grid().float()

    def alpha_bar(self, times: Tensor) -> Tensor:
        """The share of the clean image's variance that is left, float32 of the shape of ``times``.

        Args:
            times: integers from 0 to T - 1, or -1 for the clean image, where the share is 1.
        """
        return _alpha_bars(self, times.device)[times + 1]

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Noisy images [B, ...] at the times [B].

        Args:
            clean: clean images [B, ...].
            noise: standard normal numbers of the same shape.
            times: int64 [B].
        """
        alpha_bar = self.alpha_bar(times).view(-1, *[1] * (clean.ndim - 1))
        return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise


@functools.lru_cache(maxsize=16)
def _alpha_bars(schedule: Schedule, device: torch.device) -> Tensor:
    """``alpha_bar`` of all times, float32 [T + 1], with that of the clean image first."""
    return torch.cat([torch.ones(1), (1 - schedule.betas()).cumprod(0)]).to(device)


def sequence(kind: str, count: int, steps: int) -> list[int]:
    """Times to sample at, ascending.

    Args:
        kind: "uniform" takes every ``steps // count``-th time, which may give more than ``count``; "quad" takes
            ``count`` times that are denser where there is little noise, and that may repeat.
        count: how many are wanted, at most ``steps``.
        steps: number of all times.
    """
    if kind == "uniform":
        return list(range(0, steps, steps // count))
    return [int(root**2) for root in torch.linspace(0, (0.8 * steps) ** 0.5, count, dtype=torch.float64).tolist()]
