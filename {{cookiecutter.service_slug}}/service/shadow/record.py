"""What ghost mode tells: counts that add up, metrics, and events for the report and the gate.

Events are lines of JSON on stdout, like all logs. At hundreds a second they may fill the pipe; so
a native thread writes them, and where it cannot keep up they are lost and counted, not waited for.
"""

from __future__ import annotations

import logging
import os
import random
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from gevent import monkey
from gevent.threadpool import ThreadPool

from service.metrics import Metrics
from service.shadow.client import Answer
from service.shadow.comparison import Comparison
from service.shadow.copies import Copy

log = logging.getLogger("service.shadow")

COUNTS_SECONDS = 10.0
# Longest that start and end of the worker wait for a file or a pipe.
PATIENCE_SECONDS = 1.0
MAX_WAITING = 1024 * 1024  # bytes of events
_INFERENCE = re.compile(r"(?:^|[ ,])inference;dur=([0-9]{1,9}(?:\.[0-9]{1,6})?)")
_encode = msgspec.json.Encoder().encode


class Faults:
    """Logs the 1st, 2nd, 4th, 8th ... time that ghost mode itself fails, and nothing else."""

    def __init__(self) -> None:
        self.number = 0

    def note(self) -> None:
        self.number += 1
        if self.number & (self.number - 1) == 0:
            try:
                log.exception("ghost mode failed %d times, the live service has not", self.number)
            except Exception:
                pass  # there is nobody left to tell


@dataclass(slots=True)
class Pair:
    """A copy and what came of it. `result`: ok, or why there is no comparison."""

    copy: Copy
    pair_id: str = field(default_factory=lambda: f"{random.getrandbits(128):032x}")
    waited: float = 0.0
    verdict: str = "not_compared"
    result: str = "ok"
    answer: Answer | None = None  # the candidate's
    comparison: Comparison | None = None

    @property
    def live(self) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in self.copy.headers}
        return _side(self.copy.status, headers, self.copy.seconds)

    @property
    def candidate(self) -> dict[str, Any]:
        answer = self.answer
        return _side(answer.status, answer.headers, answer.seconds) if answer else {}

    def line(self) -> dict[str, Any]:
        line: dict[str, Any] = {
            "pair_id": self.pair_id,
            "route": self.copy.route,
            "verdict": self.verdict,
            "reason": None if self.result == "ok" else self.result,
            "live": self.live,
            "candidate": self.candidate,
        }
        if found := self.comparison:
            line["rows"] = found.rows
            more = {"flips": found.flips, "deltas": found.deltas, "fields": found.fields}
            line |= {name: value for name, value in more.items() if value}
        return line


def _side(status: int, headers: Mapping[str, str], seconds: float) -> dict[str, Any]:
    return {
        "version": headers.get("x-model-version", "")[:100] or None,
        "status": status,
        "inference_ms": inference_ms(headers.get("server-timing", "")),
        "total_ms": round(seconds * 1e3, 3),
    }


def inference_ms(timing: str) -> float | None:
    """Return what a Server-Timing header says of the model's part."""
    match = _INFERENCE.search(timing)
    return float(match[1]) if match else None


class Events:
    """Lines on their way to a file descriptor; `write` never waits. One a process."""

    def __init__(self, descriptor: int = 1) -> None:
        self.lost = 0
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns() // 1_000_000}"
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._size = 0
        self._thread = ThreadPool(1)

    def log(self, message: str, event: str, line: dict[str, Any]) -> None:
        """Write a line with the head that all log lines have."""
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        head = {"timestamp": f"{now[:-6]}Z", "level": "INFO", "logger": log.name}
        self.write({**head, "message": message, "event": event, "worker": self._worker, **line})

    def write(self, line: dict[str, Any]) -> None:
        # Up to PIPE_BUF bytes reach a pipe whole, whoever else is writing to it.
        content = _encode(line) + b"\n"
        for most in (5, 1, 0):
            if len(content) <= select.PIPE_BUF:
                break
            for key in line.keys() & {"fields", "flips"}:
                line[key] = line[key][:most]
            deltas = line.get("deltas", {})
            line["deltas"] = {name: deltas[name][:most] for name in list(deltas)[:most]}
            content = _encode(line) + b"\n"
        if self._size + len(content) > MAX_WAITING or len(content) > select.PIPE_BUF:
            self.lost += 1
            return
        self._lines.append(content)
        self._size += len(content)

    def flush(self) -> None:
        """Write what there is; returns when the thread has done so."""
        lines, size = list(self._lines), self._size
        if not lines:
            return
        self._lines.clear()
        try:
            self._thread.apply(_write, (self._descriptor, lines))
        except OSError:
            self.lost += len(lines)
        finally:
            self._size -= size


class Record:
    """The worker's counts. Laws: eligible = sampled_out + skipped + dropped + enqueued, and
    enqueued = verdicts + expired + lost_at_exit + queued."""

    def __init__(
        self, metrics: Metrics | None, events: Events, faults: Faults, worker: int = 0
    ) -> None:
        self.live_requests = 0
        self.eligible = 0
        self.enqueued = 0
        self.expired = 0
        self.sampled_out = 0
        self.skipped: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self._faults = faults
        self._metrics = metrics
        self._events = events
        self._tag = f"worker:{worker}"
        self._started, self._cpu = time.monotonic(), time.process_time()

    def unsent(self, outcome: str, reason: str) -> None:
        """A request of which no copy is made. `outcome`: sampled_out, skipped or dropped."""
        self.eligible += 1
        if outcome == "sampled_out":
            self.sampled_out += 1
        else:
            (self.skipped if outcome == "skipped" else self.dropped)[reason] += 1
        self._tell("count", "shadow.requests", 1, f"outcome:{outcome}", f"reason:{reason}")

    def queued(self) -> None:
        self.eligible += 1
        self.enqueued += 1
        self._tell("count", "shadow.requests", 1, "outcome:enqueued", "reason:none")

    def pair(self, pair: Pair) -> None:
        """What came of a copy."""
        self._tell("count", "shadow.compare", 1, f"verdict:{pair.verdict}")
        self._tell("observe", "shadow.queue.wait", pair.waited)
        if pair.verdict == "expired":
            self.expired += 1
            return
        self.verdicts[pair.verdict] += 1
        line = pair.line()
        self._log("shadow pair", "shadow.pair", line)
        if pair.verdict == "not_compared":
            return
        self._tell("count", "shadow.candidate.responses", 1, f"result:{pair.result}")
        for role in ("live", "candidate"):
            if (milliseconds := line[role].get("inference_ms")) is not None:
                self._tell("observe", "shadow.inference", milliseconds / 1e3, f"role:{role}")
        if pair.answer:
            self._tell("observe", "shadow.round_trip", pair.answer.seconds)
        if pair.comparison:
            for name, deltas in pair.comparison.deltas.items():
                for delta in deltas:
                    self._tell("observe", "shadow.value_delta", delta, f"field:{name}")

    def gauges(self, depth: int, size: int, open: bool, percent: float) -> None:
        self._tell("gauge", "shadow.queue.depth", depth, self._tag)
        self._tell("gauge", "shadow.queue.bytes", size, self._tag)
        self._tell("gauge", "shadow.breaker.open", open, self._tag)
        self._tell("gauge", "shadow.percent", percent, self._tag)

    def counts(self, queued: int, lost_at_exit: int = 0) -> None:
        """Log all counts. `queued`: copies waiting or under way."""
        line = {
            "seconds": round(time.monotonic() - self._started, 3),
            "eligible": self.eligible,
            "sampled_out": self.sampled_out,
            "skipped": dict(self.skipped),
            "dropped": dict(self.dropped),
            "enqueued": self.enqueued,
            "verdicts": dict(self.verdicts),
            "expired": self.expired,
            "queued": queued,
            "lost_at_exit": lost_at_exit,
            "events_lost": self._events.lost,
            "live_cpu_seconds": round(time.process_time() - self._cpu, 3),
            "live_requests": self.live_requests,
        }
        self._log("shadow counts", "shadow.counts", line)

    def _tell(self, kind: str, name: str, value: float, *tags: str) -> None:
        if self._metrics:
            try:
                getattr(self._metrics, kind)(name, value, *tags)
            except Exception:
                self._faults.note()

    def _log(self, message: str, event: str, line: dict[str, Any]) -> None:
        try:
            self._events.log(message, event, line)
        except Exception:
            self._faults.note()


_os_write = monkey.get_original("os", "write")


def _write(descriptor: int, lines: list[bytes]) -> None:
    """Write whole lines, as many at a time as a pipe takes without tearing them."""
    piece = b""
    for line in [*lines, b""]:
        if not line or len(piece) + len(line) > select.PIPE_BUF:
            while piece:
                piece = piece[_os_write(descriptor, piece) :]
        piece += line
