"""Connections between two requests: how the next one is waited for, and when they are closed."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gevent import get_hub, getcurrent

from service.sockets import has_data

_READ = 1  # of libev's events


class Arrival:
    """The next request of a connection, waited for by a watcher that stays in the event loop.

    gevent's `recv` tries in vain first, then starts a watcher and a timer, for each wait: a quarter
    of a small request's CPU.
    """

    def __init__(self, client: Any) -> None:
        self._hub = get_hub()
        self._watcher: Any = self._hub.loop.io(client.fileno(), _READ)
        self._waiting: Any = None

    def wait(self) -> None:
        """Return when there is something to read, or the client has gone. Has no timeout."""
        self._waiting = getcurrent()
        try:
            if not self._watcher.active:
                self._watcher.start(self._come)
            self._hub.switch()
        finally:
            self._waiting = None

    def _come(self) -> None:
        if self._waiting:
            self._waiting.switch()
        else:  # before the last request was answered: it stays in the socket
            self._watcher.stop()

    def close(self) -> None:
        """To be called before the socket is closed."""
        self._watcher.stop()
        self._watcher.close()


class Idle(dict[Any, float]):
    """The connections whose next request has not begun, and since when; a timer would be dearer."""

    def add(self, client: Any) -> None:
        self[client] = time.monotonic()

    def close(self, seconds: float) -> None:
        """Let those end that have been idle for so long: their readers find the end of the data."""
        now = time.monotonic()
        for client, since in self.items():
            with suppress(OSError):  # it may just have gone
                if now - since >= seconds and not has_data(client):
                    client.shutdown(socket.SHUT_RD)
