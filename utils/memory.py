"""Memory that is at its end, a GPU's or the machine's: said in one line, with what takes less. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from utils.errors import RunError, exhausted

Made = TypeVar("Made")


@contextmanager
def steps(size: int | None, flag: str = "--batch_size") -> Iterator[None]:
    """Where memory does not suffice inside, name the flag and half its value.

    Args:
        size: images at once, the value of ``flag``; None where no flag says how many.
    Raises:
        RunError: in place of torch's and Python's own errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        memory = exhausted(error)
        if memory is None or size is None:
            raise
        hint = f"{flag} {size // 2}"
        if size == 1:
            hint = "a smaller --arch or --input_size" + (", or --device cpu" if "GPU" in memory else "")
        kept = "finished epochs are kept: with more memory the same command goes on"
        raise RunError(f"{memory} does not suffice for {flag} {size}; try {hint} ({kept})") from error


def as_many_as_fit(run: Callable[[int], Made], size: int) -> Made:
    """What ``run`` makes with ``size`` images at once, or with half as many as long as memory does not suffice."""
    while True:
        try:
            return run(size)
        except (MemoryError, RuntimeError) as error:
            if size == 1 or exhausted(error) is None:
                raise
        size //= 2  # here, where the error no longer holds the tensors of its frames
