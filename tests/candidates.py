"""Candidates that misbehave, each in its own way, all on one port."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

# In every answer that a candidate makes; in none that a client gets.
CANARY = b"CANARY"


class Connection:
    """What a candidate has of a connection; counts what it receives."""

    def __init__(self, connection: socket.socket, candidate: Candidate) -> None:
        self.socket = connection
        self.send = connection.sendall
        self._candidate = candidate

    def receive(self) -> bytes:
        received = self.socket.recv(1 << 20)
        self._candidate.received(received)
        return received


Behaviour = Callable[[Connection], None]


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def says(content: bytes) -> Behaviour:
    """Answer each request with the same bytes."""

    def behave(connection: Connection) -> None:
        while connection.receive():
            connection.send(content)

    return behave


def says_and_closes(content: bytes) -> Behaviour:
    def behave(connection: Connection) -> None:
        connection.receive()
        connection.send(content)

    return behave


def is_silent(connection: Connection) -> None:
    while connection.receive():
        pass


def drips(connection: Connection) -> None:
    connection.receive()
    for byte in answer(CANARY * 100):
        connection.send(bytes([byte]))
        time.sleep(0.1)


def resets(connection: Connection) -> None:
    connection.receive()
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def streams(start: bytes) -> Behaviour:
    """Begin an answer and never end it: a gigabyte, or until nobody takes more."""

    def behave(connection: Connection) -> None:
        connection.receive()
        connection.send(start)
        for _ in range(1024):
            connection.send(CANARY * 175_000)

    return behave


def relays_to(port: int) -> Behaviour:
    """Be another server."""

    def behave(connection: Connection) -> None:
        with socket.create_connection(("127.0.0.1", port)) as other:
            while request := connection.receive():
                other.sendall(request)
                connection.send(other.recv(1 << 20))

    return behave


BOMB = gzip.compress(bytes(50_000_000))
LIVE_LIKE = b'{"predictions":[{"label":"CANARY","score":0.5}]}'

# By name: how it behaves, and the reason for which there is no comparison, None for a mismatch.
FAULTS: dict[str, tuple[Behaviour, str | None]] = {
    "black hole": (is_silent, "timeout"),
    "drip": (drips, "timeout"),
    "error": (says(answer(CANARY, "500 Internal Server Error")), "5xx"),
    "not found": (says(answer(CANARY, "404 Not Found")), "4xx"),
    "garbage": (says(CANARY * 1000), "protocol"),
    "no JSON": (says(answer(CANARY)), "not_json"),
    "deep JSON": (says(answer(b"[" * 30_000 + b"]" * 30_000)), "not_json"),
    "other JSON": (says(answer(b'["CANARY"]')), None),
    "other label": (says(answer(LIVE_LIKE)), None),
    "closes": (says_and_closes(b""), "protocol"),
    "cut short": (says_and_closes(answer(LIVE_LIKE)[:-9]), "protocol"),
    "reset": (resets, "protocol"),
    "two answers": (says(answer(LIVE_LIKE) * 2), None),
    "gigabyte": (streams(b"HTTP/1.1 200 OK\r\nContent-Length: 1075200000\r\n\r\n"), "too_large"),
    "endless": (streams(b"HTTP/1.1 200 OK\r\n\r\n"), "protocol"),
    "endless head": (streams(b"HTTP/1.1 200 OK\r\nX-Long: "), "protocol"),
    "gzip bomb": (says(answer(BOMB, "200 OK", "Content-Encoding: gzip")), "encoded"),
}


class Candidate:
    """A server on one port that behaves as it is told to, from its next connection on."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def behave(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens."""
        self.close()
        try:
            yield
        finally:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
            threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def close(self) -> None:
        # A thread that accepts would keep the port; this wakes it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.behave(self.behaviour)

    def received(self, content: bytes) -> None:
        self.requests += [b"POST " + part for part in content.split(b"POST ")[1:]]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        with suppress(OSError), closing(connection):
            self.behaviour(Connection(connection, self))
        self._open.discard(connection)
