"""The native thread that calls the model, so that the hub goes on meanwhile."""

from __future__ import annotations

from _queue import SimpleQueue  # gevent's patches replace that of `queue`
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent import monkey

Returned = TypeVar("Returned")

_start_thread = monkey.get_original("_thread", "start_new_thread")


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
