"""Requests that arrive when they are due, not when the server is ready: an open loop.

Clients that wait for an answer before they ask again slow down with the server and hide how it
fares; people and services out there do not. Each request is timed from when it was due.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

TIMEOUT_SECONDS = 30
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.I)
_INFERENCE = re.compile(rb"inference;dur=([\d.]+)")


@dataclass(frozen=True)
class Outcome:
    """`status` is 0 for no answer; `inference` what the server says the model took, 0 if none."""

    due: float
    seconds: float
    status: int
    head: bytes = b""

    @property
    def inference(self) -> float:
        match = _INFERENCE.search(self.head)
        return float(match[1]) / 1e3 if match else 0.0

    @property
    def says_when_to_retry(self) -> bool:
        return b"\r\nretry-after:" in self.head.lower()


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on it."""

    def __init__(self) -> None:
        self.open = True
        self.used = 0.0
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = LENGTH.search(head)
        if length and len(rest) >= int(length[1]) and self._answer and not self._answer.done():
            self._received = b""
            self.open = b"connection: close" not in head.lower()
            self._answer.set_result(head)

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_result(b"")

    async def ask(self, request: bytes) -> bytes:
        """Return the head of the answer, nothing if the connection broke or it took too long."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await asyncio.wait_for(self._answer, TIMEOUT_SECONDS)
        except TimeoutError:
            self._transport.abort()
            return b""
        except asyncio.CancelledError:
            self._transport.abort()
            raise

    def close(self) -> None:
        self._transport.close()


@dataclass
class Client:
    """Sends requests to a port of this machine over as many connections as are needed at a time.

    A connection that was idle for more than `reuse_seconds` is not used again: a client has to give
    up before the server does, or its next request may meet a connection that is just being closed.
    """

    port: int
    reuse_seconds: float = float("inf")
    _idle: list[_Connection] = field(default_factory=list)

    async def ask(self, request: bytes, due: float) -> Outcome:
        loop = asyncio.get_running_loop()
        try:
            connection = await self._connection()
        except OSError:
            return Outcome(due, loop.time() - due, 0)
        head = await connection.ask(request)
        if connection.open:
            connection.used = loop.time()
            self._idle.append(connection)
        return Outcome(due, loop.time() - due, int(head[9:12]) if head else 0, head)

    async def offer(self, requests: Sequence[bytes], rate: float, seconds: float) -> list[Outcome]:
        """Send `rate` requests a second, at random intervals, and return what became of them."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        end = due + seconds
        asked: list[asyncio.Task[Outcome]] = []
        while due < end:
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            asked.append(asyncio.create_task(self.ask(random.choice(requests), due)))
            due += random.expovariate(rate)
            if len(asked) % 16 == 0:
                await asyncio.sleep(0)  # behind or not, answers are read in between
        return await asyncio.gather(*asked)

    async def saturate(self, request: bytes, clients: int, seconds: float) -> float:
        """Return the answers a second that clients get who wait for each before the next."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds

        async def client() -> int:
            answers = 0
            while loop.time() < end:
                answers += (await self.ask(request, loop.time())).status == 200
            return answers

        return sum(await asyncio.gather(*(client() for _ in range(clients)))) / seconds

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    async def _connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if connection.open and loop.time() - connection.used < self.reuse_seconds:
                return connection
            connection.close()
        return (await loop.create_connection(_Connection, "127.0.0.1", self.port))[1]


async def probe(port: int, path: str, every: float) -> list[float]:
    """Ask for `path` on a new connection each time, as Kubernetes does, until cancelled.

    Returns the seconds each took; infinity for anything but a 200.
    """
    found: list[float] = []
    try:
        while True:
            client = Client(port)
            outcome = await client.ask(get(path), asyncio.get_running_loop().time())
            found.append(outcome.seconds if outcome.status == 200 else float("inf"))
            client.close()
            await asyncio.sleep(every)
    except asyncio.CancelledError:
        return found


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed; NaN if there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def statuses(outcomes: Sequence[Outcome]) -> Counter[int]:
    return Counter(outcome.status for outcome in outcomes)
