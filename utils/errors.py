"""Errors that a user can act on, and how a script ends with them."""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from utils import lock, parallel, preempt

LONGEST = 200  # characters of a path that an error shows


class UsageError(Exception):
    """Wrong input: a flag, a file or a combination. The script exits with code 2 and this one line."""

    code = 2


class RunError(Exception):
    """Right input, but the run cannot go on. The script exits with code 1 and this one line."""

    code = 1


class DivergedError(RunError):
    """A loss, a weight or a model's output became NaN or infinite. The script exits with code 3 and this one line."""

    code = 3


@contextmanager
def renamed(flags: dict[str, str]) -> Iterator[None]:
    """Replace the flag with which a ``UsageError`` from inside begins.

    Args:
        flags: the flag to name, by the flag that the error names: {"--data": "--target"} for example.
    """
    try:
        yield
    except UsageError as error:
        raise UsageError(re.sub(r"^--\w+", lambda match: flags.get(match[0], match[0]), str(error))) from error


class _Last(threading.local):
    """Warnings to print at the end of the scripts that run in a thread, nested ones last."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = [[]]


_last = _Last()


def say_last(lines: Iterable[str]) -> None:
    """Print warnings when the running script has come to its end."""
    _last.lines[-1].extend(lines)


@contextmanager
def _saying_last() -> Iterator[None]:
    _last.lines.append([])
    try:
        yield
        for line in _last.lines[-1] if parallel.is_main() else ():
            _say(f"warning: {one_line(line)}")
    finally:
        _last.lines.pop()


def leave(code: int) -> NoReturn:
    """End the process at once with an exit code, after flushing standard output and error.

    An orderly end would unload torch and scikit-learn, which takes half a second.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a full disk, a reader that has gone
            stream.flush()
    os._exit(code)


def script(main: Callable[[list[str] | None], int]) -> Callable[..., int]:
    """Decorator of a script's ``main``: turns errors, and signals that stop it, into one line on stderr.

    Returns:
        ``main``, which now returns an exit code: its own, that of a ``UsageError`` or ``RunError``, 75 if the same
        command can go on, 130 after Ctrl-C, 141 if nobody reads its output any more, and 1 for other failures.
    """

    @functools.wraps(main)
    def guarded(argv: list[str] | None = None) -> int:
        name = main.__module__ if main.__module__ != "__main__" else sys.argv[0].rsplit("/", 1)[-1].removesuffix(".py")
        with preempt.listening() as outermost, lock.scope():
            try:
                with _saying_last():
                    return main(argv)
            except (UsageError, RunError) as error:
                seen_by_all = not isinstance(error, RunError) or isinstance(error, DivergedError)
                if parallel.is_main() or not seen_by_all:
                    _say(f"{name}.py: error: {one_line(str(error))}")
                return error.code
            except BrokenPipeError:  # the reader of the output has ended, as head does
                return 141  # 128 + SIGPIPE, which Windows has no name for
            except OSError as error:  # standard output on a full disk, or a disk that went away
                place = "" if error.filename is None else f"{_shortened(str(error.filename))}: "
                _say(f"{name}.py: error: {one_line(f'{place}{error.strerror or error}')}")
                return UsageError.code if error.errno == errno.ENAMETOOLONG else 1  # such a name comes from the user
            except (MemoryError, RuntimeError) as error:
                if (memory := exhausted(error)) is not None:
                    hint = "try a smaller --arch or --input_size, or more memory"
                    _say(f"{name}.py: error: {memory} does not suffice; {hint}")
                    return 1
                if preempt.asked():  # a reader of images or a torchrun peer got it first and ended
                    return _resumable(name, "a signal")
                message = one_line(str(error))
                if "deterministic implementation" in message:
                    hint = "leave the flag out, or use --device cpu"
                    _say(f"{name}.py: error: --deterministic: {message.split('.')[0]}; {hint}")
                    return 1
                if not message.startswith("DataLoader worker"):  # raised at any point when a reader process dies
                    raise
                _say(f"{name}.py: error: a process that reads images died; try fewer --workers, or 0 ({message})")
                return 1
            except preempt.Preempted as request:
                if not outermost:
                    raise
                return _resumable(name, request)
            except KeyboardInterrupt:
                _say(f"{name}.py: interrupted; the same command goes on from the last finished epoch")
                return 130

    return guarded


def exhausted(error: Exception) -> str | None:
    """Which memory is exhausted according to an error, in words; None for errors of another kind."""
    if isinstance(error, MemoryError) or re.search("(?i)can(no|')t allocate memory|bad_alloc", str(error)):
        return "the memory of this machine"
    on_gpu = type(error).__name__ == "OutOfMemoryError" or re.search(
        "(?i)out of memory|STATUS_ALLOC_FAILED", str(error)
    )
    return "the GPU's memory" if on_gpu else None


def _resumable(name: str, cause: object) -> int:
    _say(f"{name}.py: stopped by {cause}; the same command goes on from the last finished epoch")
    return preempt.RESUMABLE


def _say(line: str) -> None:
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _shortened(path: str) -> str:
    return path if len(path) <= LONGEST else f"{path[:LONGEST]}..."


def one_line(text: str) -> str:
    """Text as one line of printable characters.

    Other characters are escaped, so that text from an unknown file cannot control the terminal.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in " ".join(text.split())
    )
