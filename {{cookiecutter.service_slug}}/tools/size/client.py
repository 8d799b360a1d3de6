"""Requests that arrive when they are due, not when the service is ready: an open loop.

A client that waits for an answer before it asks again slows down with the service and hides how it
fares. Here the times are drawn beforehand, and each request is timed from when it was due. One
process, one plain loop over sockets: it has to be faster than what it measures.
"""

from __future__ import annotations

import errno
import gc
import math
import os
import random
import re
import select
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# What is not answered by then is lost: the service itself answers or gives up sooner.
PATIENCE_SECONDS = 10.0
# The service closes connections that were idle for its KEEPALIVE, 5 s; one that is reused then may
# meet a connection that is just being closed.
REUSE_SECONDS = 3.0
# Due or not, answers are read in between.
SENT_IN_A_ROW = 16
# More processes would hardly find enough to do, and more cores are seldom there.
MOST_PROCESSES = 4
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


@dataclass(frozen=True)
class Answers:
    """What became of the requests, in order: seconds are inf and status 0 where no answer came.

    `due` counts from the start of the load; `late` is how much later than due a request was sent.
    """

    due: Array
    seconds: Array
    late: Array
    status: Array


class Clients:
    """Client processes on cores of their own."""

    def __init__(self, port: int, requests: Sequence[bytes], cores: Sequence[int]) -> None:
        self._port, self._requests = port, requests
        self._processes = min(len(cores), MOST_PROCESSES)
        self._pool = ProcessPoolExecutor(
            self._processes, get_context("spawn"), initializer=_settle, initargs=(list(cores),)
        )

    def offer(self, rate: float, seconds: float) -> Answers:
        """Send `rate` requests a second, at random times, and return what became of them."""
        share = rate / self._processes
        parts = [
            self._pool.submit(
                offer, self._port, self._requests, share, seconds, random.getrandbits(32)
            )
            for _ in range(self._processes)
        ]
        found = [part.result() for part in parts]
        return Answers(
            due=np.concatenate([part.due for part in found]),
            seconds=np.concatenate([part.seconds for part in found]),
            late=np.concatenate([part.late for part in found]),
            status=np.concatenate([part.status for part in found]),
        )

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _settle(cores: list[int]) -> None:
    os.sched_setaffinity(0, cores)
    gc.disable()  # a pause of the client would count as one of the service


class _Connection:
    """One keep-alive connection with at most one request on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = -1
        self.used = 0.0
        self.waits_to_write = True
        self._unsent = b""
        self._received = b""
        code = self.socket.connect_ex(("127.0.0.1", port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))

    def ask(self, number: int, request: bytes) -> None:
        self.request, self._unsent = number, request

    def write(self) -> bool:
        """Send what can be sent now; return whether that was all."""
        try:
            sent = self.socket.send(self._unsent)
        except BlockingIOError:
            return False
        self._unsent = self._unsent[sent:]
        return not self._unsent

    def read(self) -> int | None:
        """Return the status of an answer that is complete; raises ConnectionError at the end."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return None
        if not data:
            raise ConnectionResetError
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _LENGTH.search(self._received, 0, end)
        if len(self._received) < end + 4 + (int(length[1]) if length else 0):
            return None
        head, self._received = self._received[:end], b""
        self.used = 0.0 if b"connection: close" in head.lower() else time.perf_counter()
        return int(head[9:12])


def offer(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int) -> Answers:
    """Send `rate` requests a second for so long, from this process; wait for the last answer."""
    draw = np.random.default_rng(seed)
    due = np.cumsum(draw.exponential(1 / rate, size=max(1, math.ceil(1.2 * rate * seconds) + 50)))
    due = due[due < seconds]
    bodies = [requests[i] for i in draw.integers(len(requests), size=len(due))]
    load = _Load(port, bodies, due.tolist())
    load.run()
    return Answers(due, np.array(load.seconds), np.array(load.late), np.array(load.status))


class _Load:
    def __init__(self, port: int, requests: list[bytes], due: list[float]) -> None:
        self._port, self._requests, self._due = port, requests, due
        self.seconds = [math.inf] * len(due)
        self.late = [0.0] * len(due)
        self.status = [0] * len(due)
        self._idle: dict[int, _Connection] = {}
        self._busy: dict[int, _Connection] = {}
        self._poll = select.epoll()

    def run(self) -> None:
        self._start = time.perf_counter()
        sent, patience = 0, (self._due[-1] if self._due else 0.0) + PATIENCE_SECONDS
        while sent < len(self._due) or self._busy:
            now = time.perf_counter() - self._start
            if now > patience:
                break
            for _ in range(SENT_IN_A_ROW):
                if sent == len(self._due) or self._due[sent] > now:
                    break
                self._send(sent)
                sent += 1
            wait = (self._due[sent] if sent < len(self._due) else patience) - now
            # epoll knows milliseconds only: the last one is spent asking again and again.
            self._listen(max(0.0, math.floor(min(wait, 1.0) * 1e3) / 1e3))
        for connection in (*self._idle.values(), *self._busy.values()):
            connection.socket.close()
        self._poll.close()

    def _send(self, number: int) -> None:
        now = time.perf_counter()
        self.late[number] = now - self._start - self._due[number]
        while self._idle:
            _, connection = self._idle.popitem()  # the one used last
            if now - connection.used < REUSE_SECONDS:
                break
            connection.socket.close()
        else:
            try:
                connection = _Connection(self._port)
            except OSError:
                return  # it stays without an answer
            self._poll.register(connection.socket, select.EPOLLIN | select.EPOLLOUT)
        self._busy[connection.socket.fileno()] = connection
        connection.ask(number, self._requests[number])
        if not connection.waits_to_write:
            self._write(connection)

    def _listen(self, seconds: float) -> None:
        for descriptor, event in self._poll.poll(seconds):
            connection = self._busy.get(descriptor)
            if connection is None:  # an idle one, which the service closes
                self._idle.pop(descriptor).socket.close()
            elif event & select.EPOLLIN:
                self._read(connection)
            elif event & select.EPOLLOUT:
                self._write(connection)
            else:
                self._lose(connection)

    def _write(self, connection: _Connection) -> None:
        try:
            all_sent = connection.write()
        except OSError:
            self._lose(connection)
            return
        if connection.waits_to_write == all_sent:
            connection.waits_to_write = not all_sent
            events = select.EPOLLIN | (0 if all_sent else select.EPOLLOUT)
            self._poll.modify(connection.socket, events)

    def _read(self, connection: _Connection) -> None:
        try:
            status = connection.read()
        except OSError:
            self._lose(connection)
            return
        if status is None:
            return
        number = connection.request
        self.seconds[number] = time.perf_counter() - self._start - self._due[number]
        self.status[number] = status
        del self._busy[connection.socket.fileno()]
        if connection.used:
            self._idle[connection.socket.fileno()] = connection
        else:
            connection.socket.close()

    def _lose(self, connection: _Connection) -> None:
        del self._busy[connection.socket.fileno()]
        connection.socket.close()


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
