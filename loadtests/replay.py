"""Stands in for a service: gives the answers that it gave, after the time that each took.

Where a benchmark is about the one who asks, and both would be on this machine: a real service takes
caches and memory from its neighbour, and this one next to no CPU.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from loadtests import measure
from loadtests.openloop import LENGTH

_ID = re.compile(rb"\r\nX-Request-Id: [^\r]*")

# By the request's body: seconds, and all that was said.
Answers = Mapping[bytes, tuple[float, bytes]]


def record(port: int, requests: Sequence[bytes]) -> Answers:
    """Ask a service on this machine, one request after the other."""
    answers = {}
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for request in requests:
            started, received = time.monotonic(), b""
            connection.sendall(request)
            while _first(received) is None:
                if not (part := connection.recv(64 * 1024)):
                    raise ConnectionError("the service has closed the connection")
                received += part
            body = request.partition(b"\r\n\r\n")[2]
            answers[body] = (time.monotonic() - started, received)
    return answers


@contextmanager
def replaying(answers: Answers) -> Iterator[int]:
    """Yield the port where they are given; beside the load client, which it lets go first."""
    context = multiprocessing.get_context("spawn")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        process = context.Process(target=_serve, args=(server, answers), daemon=True)
        process.start()
        try:
            yield server.getsockname()[1]
        finally:
            process.kill()
            process.join()


def _serve(server: socket.socket, answers: Answers) -> None:
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        served = await loop.create_server(lambda: _Connection(answers), sock=server)
        await served.serve_forever()

    asyncio.run(serve())


class _Connection(asyncio.Protocol):
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while message := _first(self._received):
            head, body, self._received = message
            seconds, answer = self._answers[body]
            if sent := _ID.search(head):
                answer = _ID.sub(sent[0], answer, count=1)  # an id is echoed
            asyncio.get_running_loop().call_later(seconds, self._transport.write, answer)


def _first(received: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return head and body of the first message, if it is whole, and what follows it."""
    head, found, rest = received.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    if not found or not length or len(rest) < (size := int(length[1])):
        return None
    return head, rest[:size], rest[size:]
