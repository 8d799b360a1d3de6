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
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import gevent

from service import metrics, tracing
from service.artifact import Manifest
from service.batching import Answer, Batcher, Job, Observer
from service.drift import Drift
from service.logs import AccessLog
from service.metrics import Metrics, tag
from service.process import Process
from service.schema import Row
from service.settings import Settings

log = logging.getLogger("service.telemetry")  # a line a minute, see service/logs.py

HEALTH = {"/healthz", "/readyz"}
# Requests that have been answered are reported on so often, and so many in a row: it takes less
# when it is not done in between other work, whose code and data it would have to replace in the
# CPU's caches. If there are more than MOST_ENDED, they do not wait.
REPORT_SECONDS = 0.05
AT_A_TIME = 50
MOST_ENDED = 5000
_NOTHING: Mapping[str, Any] = {}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


@dataclass(slots=True)
class Seen:
    """A request as far as telemetry has seen it. Clock: perf_counter, seconds."""

    environ: Mapping[str, Any]
    route: str
    method: str
    started: float
    span: Any = None  # made when it is first needed
    job: Job | None = None
    rows: int = 0
    body: bytes = b""
    # Seconds that each stage took, if it was answered.
    answered: bool = False
    decode: float = 0.0
    queue_wait: float = 0.0
    predict: float = 0.0
    encode: float = 0.0
    # The call of the model: how many rows in all, and what a trace calls it.
    call_rows: int = 0
    call: Any = None
    # Of an answer that is not one: the exception, or why the request was refused.
    error: BaseException | None = None
    reason: str = ""

    def settle(self, keep_headers: bool) -> None:
        """Keep what reports need, and no more: it would fill memory and the CPU's caches."""
        self.environ = (
            {name: value for name, value in self.environ.items() if name.startswith("HTTP_")}
            if keep_headers
            else _NOTHING
        )
        self.body = b""
        if job := self.job:
            self.answered = True
            self.queue_wait = job.started - job.submitted
            self.predict = job.finished - job.started
            self.call_rows = job.call_rows
            self.call = job.call
            self.job = None


class Telemetry(Observer):
    """One a process; says nothing to an agent until `start`, which belongs in the worker."""

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        self._manifest = manifest
        self._settings = settings
        self._access = AccessLog(settings.log_sample, settings.log_slow_ms)
        self.metrics: Metrics | None = None
        self._tracing: tracing.Tracing | None = None
        self._drift: Drift | None = None
        self._worker = ""
        self._candidate = os.environ.get("SHADOW_ROLE") == "candidate"
        self._in_flight = 0
        self._ended: deque[tuple[Seen, int, float, str]] = deque()

    def start(
        self, batcher: Batcher, connections: Callable[[], int], worker: int, announce: bool
    ) -> None:
        """Connect to the agent, if there is one, and report on this worker from now on.

        `worker`: its number, from 0. `connections`: returns how many are open. `announce`: tell of
        the start as an event.
        """
        if tracing.wanted():
            self._tracing = tracing.Tracing()
        self.metrics = metrics.connect()
        if self.metrics or self._tracing:
            gevent.spawn(self._report_all)
        if self.metrics is None:
            return
        self._worker = tag("worker", worker)
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

        gevent.spawn(self.metrics.run, {1.0: gauges, 10.0: process.look_closely})

    def stop(self) -> bool:
        """Deliver what is left; return whether the process can end by itself.

        It would wait for ddtrace's threads, which wait for an agent that does not answer.
        """
        self._report(len(self._ended))
        if self.metrics:
            self.metrics.stop()
        return self._tracing is None or self._tracing.stop()

    # Of requests.

    def begin(self, environ: Mapping[str, Any], route: str) -> Seen:
        """Take note of a request's arrival. `route`: a rule, not a path that clients make up."""
        method = environ["REQUEST_METHOD"]
        if method not in METHODS:
            method = "OTHER"
        self._in_flight += 1
        started = environ.get("service.arrived") or perf_counter()
        return Seen(environ, route, method, started)

    def end(self, seen: Seen, status: int, request_id: str) -> None:
        """Take note of a request's answer."""
        self._in_flight -= 1
        seconds = perf_counter() - seen.started
        if self._access.wants(status, seconds):
            try:
                line = self._line(seen, status, seconds, request_id)
                message = f"{seen.method} {seen.route} {status}"
                self._access.write(status, message, line, seen.error)
            except Exception:
                log.exception("a request could not be logged")
        if self.metrics or self._tracing:
            seen.settle(self._candidate or tracing.continues(seen.environ))
            self._ended.append((seen, status, seconds, request_id))
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
            seen, status, seconds, request_id = self._ended.popleft()
            try:
                if self.metrics:
                    self._measure(self.metrics, seen, status, seconds)
                if self._tracing:
                    self._trace(self._tracing, seen, status, seconds, request_id)
            except Exception:
                log.exception("a request could not be reported")

    def _measure(self, to: Metrics, seen: Seen, status: int, seconds: float) -> None:
        route, status_tag, outcome = _tags(seen.route, status)
        to.count("inference.requests", 1, route, status_tag, outcome)
        to.observe("inference.latency", seconds, route, outcome)
        if seen.answered:
            to.observe("inference.decode", seen.decode)
            to.observe("inference.queue_wait", seen.queue_wait)
            to.observe("inference.encode", seen.encode)
        elif status == 503:
            to.count("inference.shed", 1, tag("reason", seen.reason))
        elif status in (499, 504):
            to.count("inference.expired", 1, tag("reason", seen.reason))

    def _trace(
        self, to: tracing.Tracing, seen: Seen, status: int, seconds: float, request_id: str
    ) -> None:
        attributes: dict[str, str | float] = {
            "span.kind": "server",
            "http.method": seen.method,
            "http.route": seen.route,
            "http.status_code": str(status),
            "request_id": request_id,
        }
        if seen.rows:
            attributes["inference.rows"] = seen.rows
        if seen.answered:
            attributes["inference.queue_wait_ms"] = seen.queue_wait * 1e3
            attributes["inference.predict_ms"] = seen.predict * 1e3
            attributes["inference.batch_rows"] = seen.call_rows
        elif seen.reason:
            attributes["inference.reason"] = seen.reason
        attributes.update(self._pair(seen))
        span = self._span(to, seen)
        to.finish(span, seconds, attributes, seen.call, seen.error, failed=status >= 500)

    def _line(self, seen: Seen, status: int, seconds: float, request_id: str) -> dict[str, Any]:
        line = {
            **(tracing.ids(self._span(self._tracing, seen)) if self._tracing else {}),
            "request_id": request_id,
            "method": seen.method,
            "route": seen.route,
            "http.status_code": status,  # Datadog would take `status` for the line's level
            "duration_ms": round(seconds * 1e3, 3),
            "model_version": self._manifest.version,
            **self._pair(seen),
        }
        if seen.reason:
            line["reason"] = seen.reason
        if self._settings.log_payloads:
            line["body"] = seen.body[:10_000].decode(errors="replace")
        return line

    def _pair(self, seen: Seen) -> dict[str, str]:
        """Return what marks a copy that ghost mode sent; the header means nothing to others."""
        if not self._candidate or "HTTP_X_SHADOW_REQUEST" not in seen.environ:
            return {}
        pair_id = str(seen.environ.get("HTTP_X_SHADOW_ID", ""))[:32]
        return {"traffic": "shadow", "shadow.pair_id": pair_id}

    # Of calls of the model.

    def call(self, jobs: Sequence[Job], rows: int) -> AbstractContextManager[Any]:
        """Return the context in which the model is called, in its thread."""
        return self._traced_call(self._tracing, jobs, rows) if self._tracing else nullcontext()

    @contextmanager
    def _traced_call(self, to: tracing.Tracing, jobs: Sequence[Job], rows: int) -> Iterator[None]:
        spans = (self._span(to, job.request) for job in jobs)
        with ExitStack() as stack:
            try:
                call = stack.enter_context(to.call(spans, len(jobs), rows))
                for job in jobs:
                    job.call = call
            except Exception:
                log.exception("a call of the model could not be traced")
            yield

    def _span(self, to: tracing.Tracing, seen: Seen) -> Any:
        if seen.span is None:
            seen.span = to.start(seen.environ, f"{seen.method} {seen.route}", seen.started)
        return seen.span

    def called(self, rows: Sequence[Row], answers: Sequence[Answer], seconds: float) -> None:
        """Report a call of the model that gave answers."""
        if self.metrics is None or self._drift is None:
            return
        try:
            self.metrics.observe("inference.predict_time", seconds)
            self.metrics.observe("inference.batch_size", len(rows))
            self._drift.call(rows, answers)
        except Exception:
            log.exception("a call of the model could not be reported")


_OUTCOMES = {499: "cancelled", 503: "shed", 504: "expired"}
_tag_cache: dict[tuple[str, int], tuple[str, str, str]] = {}


def _tags(route: str, status: int) -> tuple[str, str, str]:
    try:
        return _tag_cache[route, status]
    except KeyError:
        outcome = _OUTCOMES.get(status) or (
            "ok" if status < 400 else "client_error" if status < 500 else "error"
        )
        found = tag("route", route), tag("status", status), tag("outcome", outcome)
        return _tag_cache.setdefault((route, status), found)
