"""Being stopped by a scheduler: a signal ends a script where the same command can go on.

Training and unlearning store their state after every epoch, each file in one step, so there is nothing
left to save when the signal comes: what is being written is finished, the epoch under way is given up
and repeated later from its own seed, and the script ends with ``RESUMABLE``. Schedulers ask by SIGTERM or
SIGUSR1, submitit by SIGUSR2.
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
    """The signal has come. Like KeyboardInterrupt it is no Exception, so that only the script's end catches it."""


class _State:
    process = 0  # which listens; processes forked off it inherit the handlers
    deferrals = 0
    asked: int | None = None
    raised = False


@contextlib.contextmanager
def listening() -> Iterator[bool]:
    """Turn the first of the signals into ``Preempted`` inside; yields whether nothing around it listens already.

    Outside the main thread, where no handler can be set, it does nothing.
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
    """Finish what is inside before a signal is answered."""
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
