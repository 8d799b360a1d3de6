"""An open loop of tens of thousands of requests a second from one core: sockets and epoll alone.

asyncio's clients (openloop.py) cost more than what they ask. Like those, each request is timed from
when it was due, and goes over a connection that is idle, or a new one.
"""

from __future__ import annotations

import random
import select
import socket
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

# What is not answered by then counts as lost; real clients would have given up long ago.
PATIENCE_SECONDS = 2.0


@dataclass
class Flood:
    """What became of a load. `waits`: seconds of those with a 200, from when they were due."""

    seconds: float
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    waits: array[float] = field(default_factory=lambda: array("d"))
    refused_waits: array[float] = field(default_factory=lambda: array("d"))
    connections: int = 0

    @property
    def goodput(self) -> float:
        """Predictions a second that came within the clients' patience."""
        return sum(wait <= PATIENCE_SECONDS for wait in self.waits) / self.seconds


def flood(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> Flood:
    """Offer `rate` requests a second at random intervals; return what became of them."""
    found = Flood(seconds)
    poll, sockets = select.epoll(), dict[int, socket.socket]()
    due_of: dict[int, float] = {}  # descriptor -> when its request was due
    idle: list[int] = []
    now = time.perf_counter()
    due, end = now, now + seconds
    try:
        while (now := time.perf_counter()) < end or (due_of and now < end + PATIENCE_SECONDS):
            while due <= now and due < end:
                request = requests[found.sent % len(requests)]
                found.sent += 1
                if idle:
                    descriptor = idle.pop()
                    sockets[descriptor].send(request)
                else:
                    sock = socket.create_connection(("127.0.0.1", port))
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    descriptor = sock.fileno()
                    sockets[descriptor] = sock
                    poll.register(descriptor, select.EPOLLIN)
                    found.connections += 1
                    sock.send(request)
                due_of[descriptor] = due
                due += random.expovariate(rate)
            for descriptor, _ in poll.poll(max(0.0, min(due - now, 0.01)), 256):
                try:
                    answer = sockets[descriptor].recv(4096)
                except OSError:
                    answer = b""
                asked = due_of.pop(descriptor, None)
                if asked is not None:
                    status = int(answer[9:12] or 0)
                    found.statuses[status] += 1
                    wait = time.perf_counter() - asked
                    (found.waits if status == 200 else found.refused_waits).append(wait)
                if answer and b"\r\nConnection: close" not in answer:
                    idle.append(descriptor)
                else:
                    poll.unregister(descriptor)
                    sockets.pop(descriptor).close()
                    if descriptor in idle:
                        idle.remove(descriptor)
    finally:
        found.statuses[0] += len(due_of)
        for sock in sockets.values():
            sock.close()
        poll.close()
    return found
