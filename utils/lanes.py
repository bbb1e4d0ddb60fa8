"""Several runs in one process that do some of their work together. Imports no torch.

Every run has a lane: a thread of its own, of which one runs at a time, so that nothing of a run needs to know of the
others. Where a run comes to work that can be done for several runs at once, it calls ``meet``; when all runs wait so,
or are over, that work is done for as many of them as are alike, and each goes on with its part of what came out.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

Answer = Callable[[], Any]  # gives what ``meet`` returns, or raises


class _Here(threading.local):
    lane: Lane | None = None


_here = _Here()


@dataclass(eq=False)
class Lane:
    """One run.

    Attributes:
        work: the run.
        output: where it prints; None for where the process does.
        request: what it waits for.
        answer: what it goes on with; None while it has to wait.
        result, error: what ``work`` returned or raised, once it is over.
        seconds: how long it ran, its share of common work included.
        count: lanes that run with it, itself included.
    """

    work: Callable[[], Any]
    output: TextIO | None = None
    request: Any = None
    answer: Answer | None = None
    result: Any = None
    error: BaseException | None = None
    over: bool = False
    seconds: float = 0.0
    count: int = 1
    _since: float = 0.0
    _drawn: list[Any] = field(default_factory=list)
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _paused: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def start(self) -> None:
        """Make its thread, which waits for ``go``."""
        threading.Thread(target=self._run, daemon=True).start()

    def go(self) -> None:
        """Let it run until it waits again or is over, with its own streams and its own random numbers."""
        streams, drawn = (sys.stdout, sys.stderr), _random_states()
        if self.output is not None:
            sys.stdout = sys.stderr = self.output
        _set_random_states(self._drawn)
        try:
            self._go.release()
            self._wait_for_pause()
        finally:
            sys.stdout, sys.stderr = streams
            self._drawn = _random_states()
            _set_random_states(drawn)

    def _wait_for_pause(self) -> None:
        try:
            self._paused.acquire()
        except BaseException:  # a signal: the lane still runs, and nobody else may
            self._paused.acquire()
            raise

    def pause(self, request: Any) -> Any:
        """Wait, in its own thread, until there is an answer, and return what that gives."""
        self.request, self.answer = request, None
        self.seconds += time.perf_counter() - self._since
        self._paused.release()
        self._go.acquire()
        self._since = time.perf_counter()
        assert self.answer is not None, "a lane goes on with an answer"
        return self.answer()

    @property
    def now(self) -> float:
        """Seconds that it ran so far, asked in its own thread."""
        return self.seconds + time.perf_counter() - self._since

    def _run(self) -> None:
        self._go.acquire()
        self._since = time.perf_counter()
        _here.lane = self
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001  (whoever drives the lanes decides)
            self.error = error
        finally:
            self.over = True
            self._paused.release()


def _generators() -> list[Any]:
    """torch's global generators, from which layers such as dropout draw; none while nothing has imported torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    return [torch.default_generator, *(torch.cuda.default_generators if torch.cuda.is_initialized() else ())]


def _random_states() -> list[Any]:
    return [generator.get_state() for generator in _generators()]


def _set_random_states(states: list[Any]) -> None:
    for generator, state in zip(_generators(), states):
        generator.set_state(state)


def inside() -> bool:
    """Whether the present thread is a lane."""
    return _here.lane is not None


def count() -> int | None:
    """How many lanes there are beside the present one, itself included; None outside of lanes."""
    return None if _here.lane is None else _here.lane.count


def meet(request: Any) -> Any:
    """Wait in a lane until ``request`` has been answered, and return the answer's value."""
    assert _here.lane is not None, "only lanes meet"
    return _here.lane.pause(request)


def seconds() -> float:
    """A clock that stands still in a lane while others run; outside of lanes, that of the process."""
    return time.perf_counter() if _here.lane is None else _here.lane.now


def run(lanes: Sequence[Lane], answer: Callable[[list[Lane]], None]) -> None:
    """Take all lanes to their ends.

    An error of one lane ends that lane alone. One that is no ``Exception``, such as a signal to stop, ends all.

    Args:
        answer: gives at least one of the lanes that wait an ``answer``.
    """
    for lane in lanes:
        lane.count, lane.answer = len(lanes), _begin
        lane.start()
    try:
        while waiting := [lane for lane in lanes if not lane.over]:
            for lane in waiting:
                if lane.answer is not None:
                    lane.go()
                    if lane.error is not None and not isinstance(lane.error, Exception):
                        raise lane.error
            waiting = [lane for lane in waiting if not lane.over]
            if waiting and all(lane.answer is None for lane in waiting):
                started = time.perf_counter()
                answer(waiting)
                answered = [lane for lane in waiting if lane.answer is not None]
                for lane in answered:
                    lane.seconds += (time.perf_counter() - started) / len(answered)
    except BaseException as error:
        _stop(lanes, error)
        raise


def _begin() -> None:
    """The answer that starts a lane."""


def _stop(lanes: Sequence[Lane], error: BaseException) -> None:
    """Raise an error in every lane that waits, so that each leaves its files and locks in order."""

    def stopped() -> None:
        raise type(error)(*error.args)

    for lane in lanes:
        while not lane.over:
            lane.answer = stopped
            lane.go()
