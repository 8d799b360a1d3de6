"""Requests that arrive when they are due, not when the service is ready: an open loop.

A client that waits for an answer before it asks again slows down with the service and hides how it
fares. Here the times are drawn beforehand, and each request is timed from when it was due.
"""

from __future__ import annotations

import gc
import math
import os
import random
import re
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import gevent
import numpy as np
from gevent import socket
from gevent.pool import Group

# What became of each request: when it was due, in seconds from the start of the load; by how many
# seconds it was sent too late; the seconds from when it was due to its answer, and the status. A
# request without an answer has inf seconds and status 0.
ANSWER = np.dtype([("due", float), ("late", float), ("seconds", float), ("status", int)])
Answers = np.ndarray[Any, np.dtype[Any]]

# An answer that takes longer is lost: the service itself answers or gives up sooner.
PATIENCE_SECONDS = 10.0
# The service closes connections that were idle for its KEEPALIVE. One that is reused later
# than this may meet a connection that is just being closed.
REUSE_SECONDS = 3.0
# Answers are read after so many requests, late or not.
SENT_IN_A_ROW = 16
# More processes would hardly find enough to do.
MOST_PROCESSES = 4
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


class Clients:
    """Client processes on cores of their own."""

    def __init__(self, port: int, requests: Sequence[bytes], cores: Sequence[int]) -> None:
        self._port, self._requests = port, requests
        self._processes = min(len(cores), MOST_PROCESSES)
        self._pool = ProcessPoolExecutor(
            self._processes, get_context("spawn"), os.sched_setaffinity, initargs=(0, list(cores))
        )

    def offer(self, rate: float, seconds: float) -> list[Future[Answers]]:
        """Begin to send `rate` requests a second, at random times; each client has its share."""
        given = self._port, self._requests, rate / self._processes, seconds
        seeds = [random.getrandbits(32) for _ in range(self._processes)]
        return [self._pool.submit(offer, *given, seed) for seed in seeds]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def offer(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int) -> Answers:
    """Send `rate` requests a second for so long, from this process; wait for the last answer."""
    draw = np.random.default_rng(seed)
    due = np.cumsum(draw.exponential(1 / rate, size=max(1, math.ceil(1.2 * rate * seconds) + 50)))
    due = due[due < seconds]
    answers = np.zeros(len(due), ANSWER)
    answers["due"], answers["seconds"] = due, math.inf
    chosen = [requests[i] for i in draw.integers(len(requests), size=len(due))]
    gc.disable()  # a pause of the client would count as one of the service
    _Load(port, answers).run(chosen)
    gc.enable()
    return answers


class _Load:
    """The requests of one process: a greenlet for each, over connections that are kept."""

    def __init__(self, port: int, answers: Answers) -> None:
        self._port, self._answers = port, answers
        self._idle: list[tuple[socket.socket, float]] = []  # with when they were used

    def run(self, requests: Sequence[bytes]) -> None:
        asked, start = Group(), time.perf_counter()
        for number, (answer, request) in enumerate(zip(self._answers, requests, strict=True)):
            due = start + float(answer["due"])
            if number % SENT_IN_A_ROW == 0:
                gevent.idle()
            while (left := due - time.perf_counter()) > 0:
                # The event loop sleeps whole milliseconds: the last ones are spent asking it.
                gevent.sleep(left - 0.001) if left > 0.002 else gevent.idle()
            asked.spawn(self._ask, request, due, answer)
        asked.join(PATIENCE_SECONDS)
        asked.kill()
        for connection, _ in self._idle:
            connection.close()

    def _ask(self, request: bytes, due: float, answer: Any) -> None:
        answer["late"] = time.perf_counter() - due
        (connection, fresh), keeps = self._connection(), False
        try:
            if fresh:
                connection.connect(("127.0.0.1", self._port))
            connection.sendall(request)
            answer["status"], keeps = _read(connection)
            now = time.perf_counter()
            answer["seconds"] = now - due
        except OSError:
            pass  # the request stays without an answer
        finally:
            if keeps:
                self._idle.append((connection, now))
            else:
                connection.close()

    def _connection(self) -> tuple[socket.socket, bool]:
        """Return the one that was used last, or a new one if that was too long ago; and if new."""
        while self._idle:
            connection, used = self._idle.pop()
            if time.perf_counter() - used < REUSE_SECONDS:
                return connection, False
            connection.close()
        connection = socket.socket()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, True


def _read(connection: socket.socket) -> tuple[int, bool]:
    """Return the status, and whether the connection stays; raises OSError if it ends before."""
    received = b""
    while data := connection.recv(65536):
        received += data
        head, found, body = received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if found and len(body) >= (int(length[1]) if length else 0):
            return int(head[9:12]), b"connection: close" not in head.lower()
    raise ConnectionResetError
