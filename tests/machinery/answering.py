"""Servers for tests of what asks them, in greenlets of the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from gevent.server import StreamServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def serving(talk: Callable[[Any], None]) -> Iterator[int]:
    """Yield the port of a server that talks so on each connection, and closes it in the end."""

    def handle(connection: Any, _: Any) -> None:
        with suppress(OSError):  # a client that gives up
            talk(connection)

    server = StreamServer(("127.0.0.1", 0), handle)
    server.start()
    try:
        yield int(server.address[1])
    finally:
        server.stop(timeout=0.1)


def says(*pieces: bytes, wait: float = 0.0) -> Callable[[Any], None]:
    """Say the pieces to each request, with a wait after each; a last b"" ends the connection."""

    def talk(connection: Any) -> None:
        while connection.recv(65536):
            for piece in pieces:
                connection.sendall(piece)
                gevent.sleep(wait)
            if pieces[-1:] == (b"",):
                return

    return talk
