"""Lanes: several runs in one process that do some of their work together. Imports no torch.

Every run has a lane, a thread of its own. Only one of these threads runs at a time, so that the code of a run need not
know of the others. When a run reaches work that can be done for several runs at once, it calls ``meet`` with a request
and waits. When all runs wait or are over, the work is done together for those with the same kind of request, and each
run goes on with its part of the result.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

Answer = Callable[[], Any]  # called in the lane's thread: returns what ``meet`` returns, or raises


class _Here(threading.local):
    lane: Lane | None = None


_here = _Here()


@dataclass(eq=False)
class Lane:
    """One run and its thread.

    Attributes:
        work: the function that makes the run.
        output: where the run prints; None for the process's own streams.
        request: the argument of ``meet`` while it waits.
        answer: the answer to its request; None while there is none.
        result, error: what ``work`` returned or raised, once it is over.
        over: whether ``work`` has ended.
        seconds: how long it ran, including its share of common work.
        count: number of lanes that run together, itself included.
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
        """Start its thread, which waits for ``go``."""
        threading.Thread(target=self._run, daemon=True).start()

    def go(self) -> None:
        """Let it run until it waits again or is over. It has its own output and its own state of random generators."""
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
        except BaseException:  # a signal came while the lane runs; no other thread may run until it pauses
            self._paused.acquire()
            raise

    def pause(self, request: Any) -> Any:
        """Wait, in the lane's own thread, until the request has an answer; what the answer returns."""
        self.request, self.answer = request, None
        self.seconds += time.perf_counter() - self._since
        self._paused.release()
        self._go.acquire()
        self._since = time.perf_counter()
        assert self.answer is not None, "a lane goes on with an answer"
        return self.answer()

    @property
    def now(self) -> float:
        """Seconds that it has run so far. To be called in its own thread."""
        return self.seconds + time.perf_counter() - self._since

    def _run(self) -> None:
        self._go.acquire()
        self._since = time.perf_counter()
        _here.lane = self
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001  (``run`` decides what becomes of it)
            self.error = error
        finally:
            self.over = True
            self._paused.release()


def _generators() -> list[Any]:
    """torch's global generators, from which layers such as dropout draw; empty if torch has not been imported."""
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
    """Whether the current thread is a lane."""
    return _here.lane is not None


def count() -> int | None:
    """The number of lanes that run together with the current one, itself included; None outside lanes."""
    return None if _here.lane is None else _here.lane.count


def meet(request: Any) -> Any:
    """Wait in the current lane until ``request`` is answered; the answer's value, or its error is raised."""
    assert _here.lane is not None, "only lanes meet"
    return _here.lane.pause(request)


def seconds() -> float:
    """A clock in seconds. In a lane it stands still while other lanes run; elsewhere it is ``time.perf_counter``."""
    return time.perf_counter() if _here.lane is None else _here.lane.now


def run(lanes: Sequence[Lane], answer: Callable[[list[Lane]], None]) -> None:
    """Run all lanes until they are over.

    An error in a lane ends only that lane. An error that is no ``Exception``, such as a signal to stop, ends all lanes
    and is raised.

    Args:
        answer: called with the waiting lanes when all wait; it must set the ``answer`` of at least one.
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
    """Raise a copy of an error in every waiting lane, so that each cleans up its files and locks."""

    def stopped() -> None:
        raise type(error)(*error.args)

    for lane in lanes:
        while not lane.over:
            lane.answer = stopped
            lane.go()
