"""Traces through ddtrace: one span a request, one a call of the model, and no more.

ddtrace's own Flask integration makes some eleven spans a request, at 0.5 ms. Even its
`tracer.start_span` costs 0.05 ms, half of all that a small prediction takes; so a request's span is
made as plain data and, when it is over, given to ddtrace's sampler, tags and writer: 0.02 ms. The
call's span, of which there are fewer, and whatever the owner's model.py calls (requests, psycopg,
redis) go the ordinary way. `Tracing.__init__` takes from ddtrace what it does not publish;
requirements.txt pins its version.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:  # it imports gevent, before which ddtrace must be loaded
    from service.record import RequestRecord

SOCKET = "/var/run/datadog/apm.socket"
STOP_SECONDS = 2
# Switched off: what is not needed here and costs time at start, stop or on each request; and lines
# on stderr, which are no JSON and come twice.
DEFAULTS = {
    "DD_TRACE_LOG_STREAM_HANDLER": "false",
    "DD_TRACE_FLASK_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_CODE_ORIGIN_FOR_SPANS_ENABLED": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_EXPERIMENTAL_PROPAGATE_PROCESS_TAGS_ENABLED": "false",
    "DD_TRACE_OTEL_CTX_ENABLED": "false",  # a Python call at each switch of greenlets
}
# Why there are no traces although they are wanted.
failure = ""
# Headers that tell of a trace upstream, in the styles that ddtrace reads by default.
_UPSTREAM = ("HTTP_TRACEPARENT", "HTTP_X_DATADOG_TRACE_ID", "HTTP_X_B3_TRACEID", "HTTP_B3")


def wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether there is an agent to trace for; if not, ddtrace is not even loaded."""
    if environ.get("DD_TRACE_ENABLED", "").lower() in ("false", "0"):
        return False
    named = environ.get("DD_TRACE_AGENT_URL") or environ.get("DD_AGENT_HOST")
    return bool(named) or os.path.exists(SOCKET)


def continues(environ: Mapping[str, Any]) -> bool:
    """Tell whether a request is part of a trace that its client began."""
    return any(name in environ for name in _UPSTREAM)


def load(environ: MutableMapping[str, str] = os.environ) -> None:
    """Load ddtrace. In gunicorn's arbiter and before gevent's patches, or workers would serialise.

    Its environment variables must be complete by now. One that it cannot read leaves the service
    without traces, which it says when it starts.
    """
    global failure
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)
    _reach_agent_directly(environ)
    try:
        import ddtrace.auto  # noqa: F401
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"


def _reach_agent_directly(environ: MutableMapping[str, str]) -> None:
    """Except the agent, and this machine, from a proxy that the environment names."""
    agent = environ.get("DD_AGENT_HOST", "")
    with suppress(ValueError):
        agent = urlsplit(environ.get("DD_TRACE_AGENT_URL", "")).hostname or agent
    # The first is Python's choice, the second ddtrace's.
    excepted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if excepted != "*":
        hosts = ",".join(filter(None, (excepted, "localhost,127.0.0.1,::1", agent)))
        environ["no_proxy"] = environ["NO_PROXY"] = hosts


class Call(NamedTuple):
    """A call of the model, as the spans of the requests that shared it refer to it."""

    trace_id: int
    link: str  # encoded as ddtrace does, which would do it anew for each request


@dataclass(slots=True)
class _Id:
    """What ddtrace's sampler looks at."""

    _trace_id_64bits: int


class Tracing:
    """Makes spans. For a worker, after the fork, and only if `load` was called."""

    def __init__(self) -> None:
        import ddtrace
        import ddtrace.trace
        from ddtrace.propagation.http import HTTPPropagator

        tracer: Any = ddtrace.trace.tracer
        tracer.flush()  # replaces the writer that the arbiter had
        self._extract: Any = HTTPPropagator.extract
        self._span: Any = ddtrace.trace.Span
        self._tracer = tracer
        self._service = ddtrace.config.service
        self._context: Any = ddtrace.trace.Context
        # What tracer.start_span would set on every span.
        self._common = {"process_id": os.getpid(), "_dd.top_level": 1, **ddtrace.config.tags}
        for key in ("env", "version"):
            if value := getattr(ddtrace.config, key):
                self._common[key] = value
        aggregator = tracer._span_aggregator
        self._sampler = aggregator.sampling_processor.sampler
        self._rate_key = f"service:{self._service or ''},env:{ddtrace.config.env or ''}"
        self._processors = aggregator.sampling_processor, aggregator.tags_processor
        self._writer = aggregator.writer

    def stop(self) -> None:
        """Send what is left; gives up after STOP_SECONDS."""
        self._tracer.shutdown(timeout=STOP_SECONDS)

    def wants(self, record: RequestRecord) -> bool:
        """Tell whether a request is traced: at the rate that the agent asks for, or if it fails.

        Not if it is refused (503), of which there may be thousands a second.

        ddtrace would make and send the spans of all, for the agent to count and to drop. Those that
        are sent say what share of all they are, by which the agent counts them (`_sample_rate`, in
        its pkg/trace/stats/weight.go).
        """
        if record.sampled_at is None:
            record.sampled_at = 1.0
            asked = self._sampler._agent_based_samplers.get(self._rate_key)
            if asked and not self._sampler.rules and not continues(record.headers):
                drawn = random.getrandbits(64)
                # As Datadog has them: seconds, then 32 zeros and 64 random bits.
                record.trace_id = int(time.time()) << 96 | drawn
                record.sampled_at = asked.sample_rate if asked.sample(_Id(drawn)) else 0.0
        return record.sampled_at > 0 or (record.status >= 500 and record.status != 503)

    def span(self, record: RequestRecord) -> Any:
        """Return a request's span, which continues the client's trace if it sent one."""
        if record.span is None:
            start = time.time() - (time.perf_counter() - record.arrived)
            resource, headers = f"{record.method} {record.route}", record.headers
            place: dict[str, Any] = {"trace_id": record.trace_id}
            if continues(headers) and (context := self._extract(headers)).trace_id is not None:
                place = {"trace_id": context.trace_id, "parent_id": context.span_id}
                place["context"] = context
            record.span = self._span(
                "inference.request", self._service, resource, "web", start=start, **place
            )
            record.span._set_attributes(self._common)  # `env`, by which it is sampled, among them
        return record.span

    def ids(self, record: RequestRecord) -> dict[str, str]:
        """Return what links a log line to the trace, as ddtrace's own log injection names it."""
        if not self.wants(record):
            return {}
        span = self.span(record)
        return {"dd.trace_id": f"{span.trace_id:032x}", "dd.span_id": str(span.span_id)}

    def finish(self, record: RequestRecord, attributes: Mapping[str, str | float]) -> None:
        """End the span of a request, linked to the call which answered it."""
        span, call, error = self.span(record), record.call, record.error
        span._set_attributes(attributes)
        if record.sampled_at and record.sampled_at < 1:
            span._set_attribute("_sample_rate", record.sampled_at)
        if record.answered and call is not None and call.trace_id != span.trace_id:
            span._set_attribute("_dd.span_links", call.link)
        if error is not None:
            span.set_exc_info(type(error), error, error.__traceback__)
        span.error = int(record.status >= 500)
        span.finish(span.start + record.seconds)
        trace: Any = [span]
        for processor in self._processors:
            trace = processor.process_trace(trace)
            if not trace:  # a sampling rule discards it
                return
        self._writer.write(trace)

    @contextmanager
    def call(self, records: Sequence[RequestRecord], rows: int) -> Iterator[None]:
        """Make the span of a call of the model: a child of the first request that will be kept.

        In the thread that calls the model, where it becomes the parent of what the model does. None
        if no request is traced: what the model does is dropped with them.
        """
        traced = [record for record in records if self.wants(record)]
        if not traced:
            self._tracer.context_provider.activate(
                self._context(records[0].trace_id, random.getrandbits(64), sampling_priority=0)
            )
            try:
                yield
            finally:
                self._tracer.context_provider.activate(None)
            return
        parent = None
        for record in traced:  # only as many get a span here as it takes to find that one
            span = self.span(record)
            parent = parent or span
            if span.context.sampling_priority is None:
                self._tracer.sample(span)
            if (span.context.sampling_priority or 0) > 0:
                parent = span
                break
        child = self._tracer.start_span(
            "inference.predict", child_of=parent, resource="predict", activate=True
        )
        try:
            child.set_metric("inference.batch_rows", rows)
            child.set_metric("inference.batch_requests", len(records))
            # It is sent if any of its requests is.
            if (rate := max(record.sampled_at or 0 for record in traced)) < 1:
                child.set_metric("_sample_rate", 1 - (1 - rate) ** len(records))
            ids = {"trace_id": f"{child.trace_id:032x}", "span_id": f"{child.span_id:016x}"}
            call = Call(child.trace_id, json.dumps([ids]))
            for record in traced:
                record.call = call
            yield
        except BaseException as error:
            child.set_exc_info(type(error), error, error.__traceback__)
            raise
        finally:
            with suppress(Exception):  # whose answers are there already
                child.finish()
                self._tracer.context_provider.activate(None)
