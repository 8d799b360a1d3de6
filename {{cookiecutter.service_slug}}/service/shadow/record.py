"""What is counted of shadow traffic and told of it: to Datadog as metrics, to the log as events."""

from __future__ import annotations

import time
from collections import Counter

from service.metrics import Metrics
from service.shadow.copies import Pair
from service.shadow.events import Events
from service.shadow.faults import harmless

COUNTS_SECONDS = 10.0  # between two lines of counts


class Record:
    """A worker's counts. They add up at any time:

    requests eligible = sampled_out + skipped + dropped + enqueued
    requests enqueued = verdicts + expired + lost_at_exit + queued
    """

    def __init__(
        self, metrics: Metrics | None, events: Events, live_version: str, worker_index: int
    ) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()  # by outcome and reason
        self._verdicts: Counter[str] = Counter()
        self._metrics = metrics
        self._events = events
        self._live_version = live_version
        self._worker = f"worker:{worker_index}"
        self._started, self._cpu = time.monotonic(), time.process_time()

    @harmless()
    def request(self, outcome: str, reason: str) -> None:
        """Count a request, and whether it was copied."""
        self._requests[outcome, reason] += 1
        if self._metrics:
            self._metrics.count("shadow.requests", 1, f"outcome:{outcome}", f"reason:{reason}")

    @harmless()
    def pair(self, pair: Pair) -> None:
        """Count what came of a copy, and log it."""
        self._verdicts[pair.verdict] += 1
        line = pair.line(self._live_version)
        if pair.verdict != "expired":
            self._events.write("shadow pair", "shadow.pair", line)
        if (metrics := self._metrics) is None:
            return
        metrics.count("shadow.compare", 1, f"verdict:{pair.verdict}")
        metrics.observe("shadow.queue.wait", pair.waited)
        if pair.verdict in ("expired", "not_compared"):
            return
        metrics.count("shadow.candidate.responses", 1, f"result:{pair.reason or 'ok'}")
        for role in ("live", "candidate"):
            if (milliseconds := line[role].get("inference_ms")) is not None:
                metrics.observe("shadow.inference", milliseconds / 1e3, f"role:{role}")
        if pair.answer:
            metrics.observe("shadow.round_trip", pair.answer.seconds)
        for name, deltas in pair.comparison.deltas.items() if pair.comparison else ():
            for delta in deltas:
                metrics.observe("shadow.value_delta", delta, f"field:{name}")

    def gauge(self, name: str, value: float) -> None:
        """Report what there is at this moment of something that the worker has."""
        if self._metrics:
            self._metrics.gauge(name, value, self._worker)

    @harmless()
    def counts(self, queued: int, lost_at_exit: int = 0) -> None:
        """Log all counts. `queued`: copies that wait or are under way."""
        eligible, verdicts = self._requests.total(), dict(self._verdicts)
        line = {
            "seconds": round(time.monotonic() - self._started, 3),
            "eligible": eligible,
            "sampled_out": self._requests["sampled_out", "percent"],
            "skipped": self._reasons("skipped"),
            "dropped": self._reasons("dropped"),
            "enqueued": self._requests["enqueued", "none"],
            "expired": verdicts.pop("expired", 0),
            "verdicts": verdicts,
            "queued": queued,
            "lost_at_exit": lost_at_exit,
            "events_lost": self._events.lost,
            "live_cpu_seconds": round(time.process_time() - self._cpu, 3),
            "live_requests": eligible,
        }
        self._events.write("shadow counts", "shadow.counts", line)

    def _reasons(self, outcome: str) -> dict[str, int]:
        return {reason: n for (found, reason), n in self._requests.items() if found == outcome}
