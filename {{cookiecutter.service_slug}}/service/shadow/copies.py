"""Copies that wait to be sent: never too many, nor too large together, nor too old."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from gevent.lock import Semaphore

OVERHEAD = 2048  # bytes that a copy takes besides, about


@dataclass(slots=True)
class Copy:
    """A request that was answered, with what the live model said."""

    route: str
    head: str  # header lines that travel
    body: bytes
    live: dict[str, Any]
    answer: bytes
    pair_id: str = field(default_factory=lambda: f"{random.getrandbits(128):032x}")
    made: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        return len(self.head) + len(self.body) + len(self.answer) + OVERHEAD


class Queue:
    def __init__(self, most: int, most_bytes: int) -> None:
        self.bytes = 0
        self._most = most
        self._most_bytes = most_bytes
        self._copies: deque[Copy] = deque()
        self._waiting = Semaphore(0)  # unlike an event, it wakes no more senders than it has copies

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def full(self) -> str:
        """What there is too much of, if anything."""
        if len(self._copies) >= self._most:
            return "queue_full"
        return "queue_bytes" if self.bytes >= self._most_bytes else ""

    def put(self, copy: Copy) -> str:
        """Take a copy, without waiting, unless there is too much; then return of what."""
        if self.full:
            return self.full
        if self.bytes + copy.size > self._most_bytes:
            return "queue_bytes"
        self._copies.append(copy)
        self.bytes += copy.size
        self._waiting.release()
        return ""

    def get(self) -> Copy:
        """Return the copy that waits longest; wait for one if there is none."""
        self._waiting.acquire()
        copy = self._copies.popleft()
        self.bytes -= copy.size
        return copy
