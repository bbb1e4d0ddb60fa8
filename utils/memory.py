"""Handles exhausted memory of a GPU or the machine: a one-line error with advice, or fewer images. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from utils.errors import RunError, exhausted

Made = TypeVar("Made")


@contextmanager
def steps(size: int | None, flag: str = "--batch_size") -> Iterator[None]:
    """Turn exhausted memory inside into an error that advises half the value of a flag.

    Args:
        size: number of images in a batch, the value of ``flag``; None, if no flag decides it, changes nothing.
        flag: the flag that decides it.
    Raises:
        RunError: in place of torch's and Python's own errors of memory.
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
    """Call ``run`` with ``size`` images at once, then with half as many as long as memory does not suffice.

    Returns:
        What ``run`` returns. Its error is raised if memory does not suffice for one image.
    """
    while True:
        try:
            return run(size)
        except (MemoryError, RuntimeError) as error:
            if size == 1 or exhausted(error) is None:
                raise
        size //= 2  # outside the handler: until it ends, the error keeps the tensors of its frames alive
