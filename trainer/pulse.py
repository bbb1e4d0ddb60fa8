"""Progress lines within long epochs, for logs that show no progress bar."""

from __future__ import annotations

import time

FIRST, EVERY = 10.0, 600.0  # seconds until the first line in a training's first epoch, and until any further line


class Pulse:
    """Prints how far an epoch is, and how long an epoch and the whole training will take.

    Args:
        epoch: the present epoch, from 0.
        epochs: number of epochs.
        steps: number of steps of this epoch.
        first: whether nothing of this training has been timed yet.
        shown: whether to print at all.
    """

    def __init__(self, epoch: int, epochs: int, steps: int, first: bool, shown: bool):
        self._epoch, self._epochs, self._steps, self._shown = epoch, epochs, steps, shown
        self._began = time.perf_counter()
        self._next = FIRST if first else EVERY

    def beat(self, step: int) -> None:
        """Call after step number ``step``, from 0; prints a line if one is due."""
        if not self._shown:
            return
        took = time.perf_counter() - self._began
        if took >= self._next and step + 1 < self._steps:
            self._next = took + EVERY
            epoch_seconds = took * self._steps / (step + 1)
            seconds_left = epoch_seconds * (self._epochs - self._epoch) - took
            print(
                f"epoch {self._epoch + 1}/{self._epochs}: {step + 1} of {self._steps} steps in {took:.0f} s; "
                f"about {epoch_seconds / 60:.1f} min an epoch, {seconds_left / 60:.0f} min to go",
                flush=True,
            )
