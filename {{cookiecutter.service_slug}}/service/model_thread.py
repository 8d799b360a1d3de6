"""The native thread that calls the model, so that the hub goes on meanwhile."""

from __future__ import annotations

import sys
from _queue import SimpleQueue  # gevent's patches replace that of `queue`
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent import monkey

Returned = TypeVar("Returned")

# How long hub and model wait until they ask each other for the interpreter, in seconds: Python's
# switch interval. Beside a long call, written in Python, p99 of a probe is 9 ms with the short one,
# and was 17 ms with the long one, which is Python's own. A short call for a single row ends before
# either; and to wait for less than the kernel's next tick, its clock has to be set: without, one
# client's answer comes a tenth sooner.
SHORT_INTERVAL, LONG_INTERVAL = 0.001, 0.005

_start_thread = monkey.get_original("_thread", "start_new_thread")


def share_interpreter(rows: float, seconds: float) -> None:
    """Set that time by what recent calls had and took, on average."""
    brief = rows < 2 and seconds < LONG_INTERVAL
    sys.setswitchinterval(LONG_INTERVAL if brief else SHORT_INTERVAL)


class ModelThread:
    """Runs one function at a time, for one greenlet at a time, which waits.

    gevent's ThreadPool can do more and so takes twice as long to hand a call over and back: with a
    light model and one client that is a fiftieth of an answer.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._outcome: tuple[Any, BaseException | None] = (None, None)
        self._waiting: Any = None  # the greenlet
        self._over = gevent.get_hub().loop.async_()
        self._over.start(self._wake)
        _start_thread(self._run, ())

    def apply(self, function: Callable[..., Returned], *arguments: Any) -> Returned:
        """Return what the function returns in the thread; raises what it raises there."""
        self._waiting = gevent.getcurrent()
        self._calls.put((function, arguments))
        try:
            gevent.get_hub().switch()
        finally:
            self._waiting = None
        (returned, error), self._outcome = self._outcome, (None, None)
        if error is not None:
            raise error
        return returned  # type: ignore[no-any-return]

    def kill(self) -> None:
        """End the thread, once the call that runs is over; nobody waits for that."""
        self._calls.put(None)
        self._over.stop()

    def _wake(self) -> None:
        if self._waiting is not None:  # not killed
            self._waiting.switch()

    def _run(self) -> None:
        while call := self._calls.get():
            function, arguments = call
            try:
                self._outcome = function(*arguments), None
            except BaseException as error:
                self._outcome = None, error
            del call, function, arguments  # or they would live until the next call
            self._over.send()
