"""Copies that wait to be sent: never too many, nor too large together, nor too old."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from gevent.event import Event

OVERHEAD = 2048  # bytes that a copy takes besides, about


@dataclass(slots=True)
class Copy:
    """A request that was answered, and the answer, as they passed: it is made while a client waits
    with the next one, so whatever can be worked out of it later is.

    `values`: of the headers that travel, in the order of the settings. `headers`: of the answer.
    `seconds`: what the answer took.
    """

    route: str
    values: list[str | None]
    body: bytes
    status: int
    headers: list[tuple[str, str]]
    answer: bytes
    seconds: float
    made: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        head = sum([len(value) for value in self.values if value])
        return head + len(self.body) + len(self.answer) + OVERHEAD


class Queue:
    """`arrived` is set with each copy; who waits for one clears it."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.bytes = 0
        self.arrived = Event()
        self._most = most
        self._most_bytes = most_bytes
        self._copies: deque[Copy] = deque()

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def full(self) -> str:
        """What there is too much of, if anything."""
        if len(self._copies) >= self._most:
            return "queue_full"
        return "queue_bytes" if self.bytes >= self._most_bytes else ""

    @property
    def oldest(self) -> Copy:
        return self._copies[0]

    def put(self, copy: Copy) -> str:
        """Take a copy, without waiting, unless there is too much; then return of what."""
        if self.full:
            return self.full
        if self.bytes + copy.size > self._most_bytes:
            return "queue_bytes"
        self._copies.append(copy)
        self.bytes += copy.size
        self.arrived.set()
        return ""

    def get(self) -> Copy:
        """Return the oldest copy; there must be one."""
        copy = self._copies.popleft()
        self.bytes -= copy.size
        return copy
