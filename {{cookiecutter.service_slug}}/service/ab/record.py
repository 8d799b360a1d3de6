"""What is told of the share of users: to Datadog as metrics, to the log as events.

A line for each answer of the experiment, not for each request: the control group is as large as the
candidate's, so it is twice the percentage of the traffic.
"""

from __future__ import annotations

import time
from collections import Counter

from service.ab.assignment import Assignment
from service.metrics import Metrics, tag
from service.record import RequestRecord
from service.shadow.events import Events
from service.shadow.faults import harmless

LOGGER = "service.ab"


class Record:
    """A worker's counts. `groups`: requests by candidate, control, others, no_key.

    They are counted by who knows them, and told once a second: that is all others pay for.
    """

    def __init__(
        self, metrics: Metrics | None, live_version: str, experiment: str, worker_index: int
    ) -> None:
        self._metrics = metrics
        self._events = Events(logger=LOGGER)
        self._live_version, self._experiment = live_version, experiment
        self._worker = tag("worker", worker_index)
        self._started = time.monotonic()
        self.groups: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._fallbacks: Counter[str] = Counter()

    @harmless()
    def answer(self, request: RequestRecord, assignment: Assignment) -> None:
        """Log an answer of the experiment, and count a fallback."""
        fallback = assignment.fallback or None
        if fallback:
            self._fallbacks[fallback] += 1
        line = {
            "experiment": self._experiment,
            "group": assignment.group,
            "key": assignment.key,
            "request_id": request.request_id,
            "arm": request.arm,
            "fallback": fallback,
            "version": request.version or self._live_version,
            "status": request.status,
            "duration_ms": round(request.seconds * 1e3, 3),
            "candidate_ms": round(assignment.candidate_seconds * 1e3, 3),
            "rows": request.row_count,
        }
        self._events.write("ab answer", "ab.answer", line)
        if self._metrics is None:
            return
        if fallback:
            self._metrics.count("ab.fallbacks", 1, f"reason:{fallback}")
        if assignment.candidate_seconds:
            self._metrics.observe("ab.round_trip", assignment.candidate_seconds)

    @harmless()
    def gauges(self, percent: float, breaker_open: bool) -> None:
        if self._metrics:
            for group, number in (self.groups - self._told).items():
                self._metrics.count("ab.requests", number, f"group:{group}")
            self._told = self.groups.copy()
            self._metrics.gauge("ab.percent", percent, self._worker)
            self._metrics.gauge("ab.breaker.open", int(breaker_open), self._worker)

    @harmless()
    def counts(self, percent: float) -> None:
        """Log all counts."""
        line = {
            "seconds": round(time.monotonic() - self._started, 3),
            "experiment": self._experiment,
            "percent": percent,
            "groups": dict(self.groups),
            "fallbacks": dict(self._fallbacks),
            "events_lost": self._events.lost,
        }
        self._events.write("ab counts", "ab.counts", line)
