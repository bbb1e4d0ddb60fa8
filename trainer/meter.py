"""Mean loss and figures of an epoch, added up over its steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from trainer.task import Figures
from utils import parallel
from utils.errors import DivergedError


class EpochMeter:
    """Adds up loss and figures of an epoch's steps, on the device of the images."""

    def __init__(self, device: torch.device):
        self._device = device
        self._prompt = device.type == "cpu" and parallel.size() == 1  # elsewhere, reading a value would mean waiting
        self._names: tuple[str, ...] = ()
        self._samples = 0.0
        self._sums = torch.zeros(1, device=device)  # of losses, then of the figures
        self._sound = torch.zeros((), device=device)  # steps after which the sum of losses was finite

    @property
    def broken(self) -> bool:
        """Whether the loss is known to be NaN or infinite; on GPUs and with several processes False until the end."""
        return self._prompt and not math.isfinite(self._sums[0])

    def add(self, loss: Tensor, figures: Figures, samples: int, count: int) -> None:
        """Count a step.

        Args:
            loss: mean loss of this process's samples, a scalar.
            figures: figures of these samples, [samples] by name.
            samples: number of this process's samples.
            count: number of samples of the whole batch.
        """
        self.sum_up(loss, figures, samples, count)
        self.count_in(samples, count)

    def count_in(self, samples: int, count: int) -> None:
        """The part of ``add`` that the CPU computes."""
        self._samples += samples / self._copies(count)

    def sum_up(self, loss: Tensor, figures: Figures, samples: int, count: int) -> None:
        """The part of ``add`` that the device computes; memory is reused after the first step, as graphs need it."""
        if len(self._names) < len(figures):
            self._names, self._sums = tuple(figures), torch.zeros(1 + len(figures), device=self._device)
        added = (figure.sum(dtype=torch.float32) for figure in figures.values())
        sums = torch.stack([loss.detach() * samples, *added])
        copies = self._copies(count)
        self._sums += sums if copies == 1 else sums / copies
        self._sound += self._sums[0].abs() < math.inf  # isfinite launches twice as many kernels

    @staticmethod
    def _copies(count: int) -> int:
        """How many processes see the same images: all of them if a batch has fewer images than processes."""
        return 1 if count >= parallel.size() else parallel.size()

    def means(self, when: str) -> tuple[float, dict[str, float]]:
        """Loss per sample, and mean figures by name in [0, 1], over all processes.

        Args:
            when: end of the error message, in which ``{step}`` stands for the number of the step that failed.
        Raises:
            DivergedError: the loss is no longer finite.
        """
        counted = torch.cat([self._sums, self._sums.new_full((1,), self._samples), self._sound[None]])
        *sums, samples, sound = parallel.add_up(counted).tolist()
        loss, *figures = (value / max(samples, 1) for value in sums)
        if not math.isfinite(loss):
            step = int(sound) // parallel.size() + 1
            raise DivergedError(f"the loss became {loss} {when.format(step=step)}; try a smaller one")
        return loss, dict(zip(self._names, figures))

    def state(self) -> dict[str, Any]:
        """What was added up so far."""
        return {"names": self._names, "samples": self._samples, "sums": self._sums, "sound": self._sound}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._names, self._samples = tuple(state["names"]), state["samples"]
        self._sums, self._sound = state["sums"].to(self._device), state["sound"].to(self._device)
