"""The other end of shadow traffic: tells how much CPU time copies take, which live cannot see."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from wsgiref.types import WSGIApplication

import gevent

from service.shadow.events import Events
from service.shadow.faults import repeat
from service.shadow.record import COUNTS_SECONDS


class Candidate:
    """A service that is sent copies: `wrap` its application, then `start` in the worker."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._copies = 0
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def wrap(self, app: WSGIApplication) -> WSGIApplication:
        def counted(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            self._copies += "HTTP_X_SHADOW_REQUEST" in environ
            return app(environ, start_response)

        return counted

    def start(self, *_: Any) -> None:
        """Begin to report, after the fork; it needs nothing of what a live service does."""
        self._events = Events()
        self._started, self._cpu = time.monotonic(), time.process_time()
        self._greenlet = gevent.spawn(repeat, COUNTS_SECONDS, self._tell)

    def stop(self) -> None:
        """Report for the last time."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
            self._greenlet = None
            self._tell()

    def _tell(self) -> None:
        fields = {
            "seconds": round(time.monotonic() - self._started, 3),
            "version": self._version,
            "requests": self._copies,
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
        }
        self._events.write("shadow usage", "shadow.usage", fields)
