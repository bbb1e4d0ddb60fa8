"""Preemption: a scheduler's signal ends a script in a state from which the same command can go on.

Training and unlearning write their state after every epoch, each file in one step, so nothing need be saved when the
signal comes. The file that is being written is finished, the current epoch is given up (it is repeated later with its
own seed), and the script exits with ``RESUMABLE``. Schedulers send SIGTERM or SIGUSR1, submitit SIGUSR2.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

RESUMABLE = 75  # the exit code: EX_TEMPFAIL of sysexits.h, "try again later"
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))


class Preempted(BaseException):
    """Raised on such a signal. Like KeyboardInterrupt it is no ``Exception``; only the script itself catches it."""


class _State:
    process = 0  # id of the process that listens: forked ones inherit the handlers and must ignore them
    deferrals = 0
    asked: int | None = None
    raised = False


@contextlib.contextmanager
def listening() -> Iterator[bool]:
    """Raise ``Preempted`` inside when the first of ``SIGNALS`` comes.

    Yields True if this call has set the handlers. It yields False, and does nothing, if an outer call has, or outside
    the main thread, where no handler can be set.
    """
    if _State.process == os.getpid() or threading.current_thread() is not threading.main_thread():
        yield False
        return
    earlier = {number: signal.signal(number, _answer) for number in SIGNALS}
    _State.process, _State.deferrals, _State.asked, _State.raised = os.getpid(), 0, None, False
    try:
        yield True
    finally:
        _State.process = 0
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Delay ``Preempted`` until the block inside has finished."""
    _State.deferrals += 1
    try:
        yield
    finally:
        _State.deferrals -= 1
    _tell()


def asked() -> bool:
    """Whether a signal has come."""
    return _State.asked is not None


def _answer(number: int, frame: FrameType | None) -> None:
    if os.getpid() == _State.process:
        _State.asked = _State.asked or number
        _tell()


def _tell() -> None:
    if _State.asked is not None and _State.deferrals == 0 and not _State.raised:
        _State.raised = True
        raise Preempted(signal.Signals(_State.asked).name)
