"""What a candidate tells of itself: the CPU time that copies take, which nobody else can see."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import gevent

from service.metrics import Metrics
from service.shadow.middleware import Wsgi
from service.shadow.record import COUNTS_SECONDS, PATIENCE_SECONDS, Events


class Candidate:
    """The other end of ghost mode: `wrap` when the application is made, the rest in the worker."""

    def __init__(self, version: str) -> None:
        """`version`: of the artifact."""
        self._version = version
        self._copies = 0
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def wrap(self, app: Wsgi) -> Wsgi:
        def counted(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            self._copies += "HTTP_X_SHADOW_REQUEST" in environ
            return app(environ, start_response)

        return counted

    def start(
        self, metrics: Metrics | None = None, worker: int = 0, rest: Any = None, descriptor: int = 1
    ) -> None:
        """Begin to report; in the worker, after the fork. `descriptor`: where to write events."""
        self._events = Events(descriptor)
        self._started, self._cpu = time.monotonic(), time.process_time()
        self._greenlet = gevent.spawn(self._report)

    def stop(self) -> None:
        """Report for the last time."""
        if self._greenlet is None:
            return
        self._greenlet.kill(block=False)
        self._greenlet = None
        self._tell()

    def _report(self) -> None:
        while True:
            gevent.sleep(COUNTS_SECONDS)
            self._tell()

    def _tell(self) -> None:
        line = {
            "seconds": round(time.monotonic() - self._started, 3),
            "version": self._version,
            "requests": self._copies,
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
        }
        self._events.log("shadow usage", "shadow.usage", line)
        with gevent.Timeout(PATIENCE_SECONDS, False):  # type: ignore[arg-type]
            self._events.flush()
