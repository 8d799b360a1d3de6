"""The native thread that calls the model, so that the hub goes on meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import FileIO
from typing import Any, TypeVar

import gevent
from gevent import monkey

Returned = TypeVar("Returned")

_READABLE = 1  # libev's EV_READ
_start_thread = monkey.get_original("_thread", "start_new_thread")


class ModelThread:
    """Runs one function at a time, for one greenlet at a time, which waits.

    Both sides wake each other by a byte in a pipe. Python lets go of the interpreter while it
    writes one, so whoever wakes up finds it free. By a queue, a lock or gevent's ThreadPool, the
    one who wakes waits for the one who woke it: seven switches of threads a call instead of three.
    """

    def __init__(self) -> None:
        self._call: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        self._outcome: tuple[Any, BaseException | None] = (None, None)
        self._waiting: Any = None  # the greenlet
        self._asked, self._ask = _pipe()
        self._over, self._end = _pipe()
        self._watcher = gevent.get_hub().loop.io(self._over.fileno(), _READABLE)
        self._watcher.start(self._wake)
        _start_thread(self._run, ())

    def apply(self, function: Callable[..., Returned], *arguments: Any) -> Returned:
        """Return what the function returns in the thread; raises what it raises there."""
        self._waiting = gevent.getcurrent()
        self._call = function, arguments
        self._ask.write(b"\n")
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
        self._watcher.stop()
        self._ask.close()

    def _wake(self) -> None:
        self._over.read(1)
        if self._waiting is not None:  # not killed
            self._waiting.switch()

    def _run(self) -> None:
        with self._asked, self._over, self._end:
            while self._asked.read(1) and self._call:
                # Taken out, or they would live until the next call.
                (function, arguments), self._call = self._call, None
                try:
                    self._outcome = function(*arguments), None
                except BaseException as error:
                    self._outcome = None, error
                del function, arguments
                self._end.write(b"\n")


def _pipe() -> tuple[FileIO, FileIO]:
    """Return its ends, to read from and to write to."""
    out, into = os.pipe()
    return FileIO(out), FileIO(into, "w")
