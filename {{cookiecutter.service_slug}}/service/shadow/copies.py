"""Copies: what one is, from the queue to the log, and where they wait, bounded."""

from __future__ import annotations

import random
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from gevent.event import Event

from service.shadow.client import Answer
from service.shadow.comparison import Comparison

MAX_WAITING = 100
MAX_WAITING_BYTES = 8 * 1024 * 1024
OVERHEAD_BYTES = 2048  # that a copy takes besides its request and answer, about
_INFERENCE = re.compile(r"(?:^|[ ,])inference;dur=([0-9]{1,9}(?:\.[0-9]{1,6})?)")


@dataclass(slots=True, eq=False)
class Pair:
    """A request's copy, live's answer, and then what came of it. Times in seconds."""

    body: bytes
    live_answer: bytes
    live_seconds: float
    live_inference_seconds: float  # the model's part
    request_id: str = ""  # the live request's, which the candidate is not told
    made: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    pair_id: str = ""
    answer: Answer | None = None  # the candidate's
    comparison: Comparison | None = None
    # match, within_tolerance, mismatch, candidate_error, not_compared or expired
    verdict: str = "not_compared"
    reason: str | None = None  # for which there is no comparison

    @property
    def size(self) -> int:
        return len(self.body) + len(self.live_answer) + OVERHEAD_BYTES

    def line(self, live_version: str) -> dict[str, Any]:
        """Return what the log says of it."""
        candidate: dict[str, Any] = {}
        if answer := self.answer:
            version = answer.headers.get("x-model-version", "")[:100] or None
            milliseconds = inference_ms(answer.headers.get("server-timing", ""))
            candidate = _side(version, answer.status, milliseconds, answer.seconds)
        live_ms = round(self.live_inference_seconds * 1e3, 3)
        line: dict[str, Any] = {
            "pair_id": self.pair_id,
            "request_id": self.request_id,
            "route": "/predict",
            "verdict": self.verdict,
            "reason": self.reason,
            "live": _side(live_version, 200, live_ms, self.live_seconds),
            "candidate": candidate,
        }
        if found := self.comparison:
            line["rows"] = found.rows
            more = {"flips": found.flips, "deltas": found.deltas, "fields": found.fields}
            line |= {name: value for name, value in more.items() if value}
        return line


def _side(version: str | None, status: int, ms: float | None, seconds: float) -> dict[str, Any]:
    total_ms = round(seconds * 1e3, 3)
    return {"version": version, "status": status, "inference_ms": ms, "total_ms": total_ms}


def inference_ms(timing: str) -> float | None:
    """Return the model's part, as a Server-Timing header tells it."""
    match = _INFERENCE.search(timing)
    return float(match[1]) if match else None


class Queue:
    """First in, first out. `arrived` is set with each pair; who waits for one clears it."""

    def __init__(self) -> None:
        self.bytes = 0
        self.arrived = Event()
        self._pairs: deque[Pair] = deque()

    def __len__(self) -> int:
        return len(self._pairs)

    def put(self, pair: Pair) -> str:
        """Take a pair, without waiting, and return ""; or return why there is no room for it."""
        if len(self._pairs) >= MAX_WAITING:
            return "queue_full"
        if self.bytes + pair.size > MAX_WAITING_BYTES:
            return "queue_bytes"
        self._pairs.append(pair)
        self.bytes += pair.size
        self.arrived.set()
        return ""

    def get(self) -> Pair:
        """Return the oldest pair, which gets its id now; there must be one."""
        pair = self._pairs.popleft()
        self.bytes -= pair.size
        pair.waited = time.monotonic() - pair.made
        pair.pair_id = f"{random.getrandbits(128):032x}"
        return pair
