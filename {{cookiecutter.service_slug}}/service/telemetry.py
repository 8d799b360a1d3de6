"""What the service tells of itself: each request and each call of the model, once it is over.

Metrics, spans and log lines all come from here, so that they agree: same outcome, same times, same
ids. What an agent does not take is lost; nothing here makes a request wait for one, or fail.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from time import perf_counter
from typing import Any

import gevent

from service import metrics, tracing
from service.artifact import Manifest
from service.batching import Batcher
from service.drift import Drift
from service.log_writer import stdout
from service.logs import AccessLog
from service.metrics import Metrics, tag
from service.observer import Observer
from service.process import Process
from service.record import Answer, RequestRecord, Row
from service.request_id import request_id
from service.settings import Settings

log = logging.getLogger("service.telemetry")  # a line a minute, see service/logs.py

HEALTH = {"/healthz", "/readyz"}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# Answered requests are reported so often, and so many in a row: it takes less when it is not done
# in between other work, whose code and data it would have to replace in the CPU's caches. If more
# than MOST_ENDED wait, they are reported at once.
REPORT_SECONDS = 0.05
AT_A_TIME = 50
MOST_ENDED = 5000


class Telemetry(Observer):
    """One a process; says nothing to an agent until `start`, which belongs in the worker."""

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        self._manifest = manifest
        self._log_payloads = bool(settings.log_payloads)
        self._access = AccessLog(settings.log_sample, settings.log_slow_ms)
        self.metrics: Metrics | None = None
        self._tracing: tracing.Tracing | None = None
        self._drift: Drift | None = None
        self._worker = ""
        self._candidate = os.environ.get("SHADOW_ROLE") == "candidate"
        self._in_flight = 0
        self._ended: deque[RequestRecord] = deque()

    def start(
        self, batcher: Batcher, connections: Callable[[], int], worker_index: int, announce: bool
    ) -> None:
        """Connect to the agent, if there is one, and report on this worker from now on.

        `connections`: returns how many are open. `announce`: tell of the start as an event.
        """
        if tracing.failure:
            log.error("there will be no traces: %s", tracing.failure)
        elif tracing.wanted():
            self._tracing = tracing.Tracing()
        try:
            self.metrics = metrics.connect()
        except Exception as error:  # an address that is none
            log.error("there will be no metrics: %s", error)
        if self.metrics or self._tracing:
            gevent.spawn(self._report_all)
        if self.metrics is None:
            return
        self._worker = tag("worker", worker_index)
        self._drift = Drift(self._manifest, self.metrics)
        if announce:
            name = f"{os.environ.get('DD_SERVICE', self._manifest.name)} {self._manifest.version}"
            self.metrics.event(f"{name} started", f"on {socket.gethostname()}")
        process = Process(self.metrics, self._worker)

        def gauges() -> None:
            assert self.metrics
            self.metrics.gauge("inference.in_flight", self._in_flight, self._worker)
            self.metrics.gauge("inference.queued_rows", batcher.queued_rows, self._worker)
            self.metrics.gauge("worker.connections", connections(), self._worker)
            process.look()

        gevent.spawn(self.metrics.run, gauges)

    def stop(self) -> None:
        """Deliver what is left, log lines too, as far as it is taken within a few seconds."""
        self._report(len(self._ended))
        if self.metrics:
            self.metrics.stop()
        if self._tracing:
            self._tracing.stop()
        stdout.flush()

    def begin(self, environ: Mapping[str, Any], route: str) -> RequestRecord:
        """Take note of a request's arrival. `route`: see RequestRecord."""
        method = environ["REQUEST_METHOD"]
        if method not in METHODS:
            method = "OTHER"
        self._in_flight += 1
        record = RequestRecord(route, method, environ.get("service.arrived") or perf_counter())
        if self._candidate or (self._tracing and tracing.continues(environ)):
            record.headers = {k: v for k, v in environ.items() if k.startswith("HTTP_")}
        return record

    def end(self, record: RequestRecord, environ: dict[str, Any], status: int) -> None:
        """Take note of a request's answer."""
        self._in_flight -= 1
        record.status, record.request_id = status, request_id(environ)
        record.seconds = perf_counter() - record.arrived
        if self._access.wants(status, record.seconds):
            try:
                self._log(record, environ.get("service.body", b""))
            except Exception:
                log.exception("a request could not be logged")
        if self.metrics or self._tracing:
            self._ended.append(record)
            if len(self._ended) > MOST_ENDED:
                self._report(MOST_ENDED)

    def _report_all(self) -> None:
        while True:
            gevent.sleep(REPORT_SECONDS)
            while self._ended:
                self._report(AT_A_TIME)
                gevent.sleep(0)

    def _report(self, most: int) -> None:
        for _ in range(min(most, len(self._ended))):
            record = self._ended.popleft()
            try:
                if self.metrics:
                    _measure(self.metrics, record)
                if self._tracing and self._tracing.wants(record):
                    self._trace(self._tracing, record)
            except Exception:
                log.exception("a request could not be reported")

    def _trace(self, to: tracing.Tracing, record: RequestRecord) -> None:
        attributes: dict[str, str | float] = {
            "span.kind": "server",
            "http.method": record.method,
            "http.route": record.route,
            "http.status_code": str(record.status),
            "request_id": record.request_id,
        }
        if record.row_count:
            attributes["inference.rows"] = record.row_count
        if record.answered:
            attributes["inference.queue_wait_ms"] = record.queue_seconds * 1e3
            attributes["inference.predict_ms"] = record.predict_seconds * 1e3
            attributes["inference.batch_rows"] = record.call_rows
        elif record.reason:
            attributes["inference.reason"] = record.reason
        if record.assignment:
            attributes["arm"] = record.arm
        attributes.update(self._copy_tags(record))
        to.finish(record, attributes)

    def _log(self, record: RequestRecord, body: bytes) -> None:
        line = {
            **(self._tracing.ids(record) if self._tracing else {}),
            "request_id": record.request_id,
            "method": record.method,
            "route": record.route,
            "http.status_code": record.status,  # Datadog would take `status` for the line's level
            "duration_ms": round(record.seconds * 1e3, 3),
            "model_version": record.version or self._manifest.version,
            **self._copy_tags(record),
        }
        if record.reason:
            line["reason"] = record.reason
        if self._log_payloads:
            line["body"] = body[:10_000].decode(errors="replace")
        message = f"{record.method} {record.route} {record.status}"
        self._access.write(record.status, message, line, record.error)

    def _copy_tags(self, record: RequestRecord) -> dict[str, str]:
        """Return what marks a copy of shadow traffic, to a candidate; to others it is no copy."""
        if not self._candidate or "HTTP_X_SHADOW_REQUEST" not in record.headers:
            return {}
        pair_id = str(record.headers.get("HTTP_X_SHADOW_ID", ""))[:32]
        return {"traffic": "shadow", "shadow.pair_id": pair_id}

    def call(self, records: Sequence[RequestRecord], rows: int) -> AbstractContextManager[object]:
        return self._traced_call(self._tracing, records, rows) if self._tracing else nullcontext()

    @contextmanager
    def _traced_call(
        self, to: tracing.Tracing, records: Sequence[RequestRecord], rows: int
    ) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(to.call(records, rows))
            except Exception:
                log.exception("a call of the model could not be traced")
            yield

    def called(self, rows: Sequence[Row], answers: Sequence[Answer], seconds: float) -> None:
        if self.metrics is None or self._drift is None:
            return
        try:
            self.metrics.observe("inference.predict_time", seconds)
            self.metrics.observe("inference.batch_size", len(rows))
            self._drift.call(rows, answers)
        except Exception:
            log.exception("a call of the model could not be reported")


def _measure(to: Metrics, record: RequestRecord) -> None:
    route, status, outcome = _tags(record.route, record.status)
    arm = f"arm:{record.arm}"
    to.count("inference.requests", 1, route, status, outcome, arm)
    to.observe("inference.latency", record.seconds, route, outcome, arm)
    if record.answered:
        to.observe("inference.decode", record.decode_seconds)
        to.observe("inference.queue_wait", record.queue_seconds)
        to.observe("inference.encode", record.encode_seconds)
    elif record.status == 503:
        to.count("inference.shed", 1, tag("reason", record.reason))
    elif record.status in (499, 504):
        to.count("inference.expired", 1, tag("reason", record.reason))


_OUTCOMES = {499: "cancelled", 503: "shed", 504: "expired"}


@cache
def _tags(route: str, status: int) -> tuple[str, str, str]:
    outcome = _OUTCOMES.get(status) or (
        "ok" if status < 400 else "client_error" if status < 500 else "error"
    )
    return tag("route", route), tag("status", status), tag("outcome", outcome)
