"""What the service reports to Datadog, taken by Datadog's test agent and a strict DogStatsD server.

Most tests ask the same running service, and tell their own requests by the ids they gave them.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from agent import Agent, Span, install
from dogstatsd import Receiver
from harness import PYTHON, TEMPLATE, Service, copied, manifest, serve, vouched, wrapped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KINDS = {"count": "c", "gauge": "g", "distribution": "d"}
UNIFIED = {"env", "service", "version"}

# By the first column's value, so that a test can choose.
MODEL = """
import time
import requests
from gevent.monkey import get_original

_predict = predict

def predict(model: Any, frame: pd.DataFrame) -> Any:
    marks = frame.iloc[:, 0]
    if (marks == -1).any():
        raise RuntimeError("a broken\\nmodel")
    if (marks == -2).any():
        raise ValueError("a bad row")
    if (marks == -3).any():
        requests.get(os.environ["ELSEWHERE"], timeout=5)
    if (marks == -4).any():
        get_original("time", "sleep")(0.5)
    return _predict(model, frame)
"""

# A view whose wait others must not notice.
WAIT = """
import threading
import time

_create_app = create_app

def create_app(*args: Any) -> Flask:
    app = _create_app(*args)

    @app.get("/wait")
    def wait() -> dict[str, Any]:
        time.sleep(0.25)
        threading.Event().wait(0.25)
        return {}

    @app.get("/broken")
    def broken() -> dict[str, Any]:
        raise RuntimeError("a broken\\nview")

    return app
"""


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    install()
    with Agent() as agent:
        yield agent


@pytest.fixture(scope="module")
def catalogue() -> dict[str, dict[str, Any]]:
    """The metrics that the service says it sends, by name."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(
        (TEMPLATE / "datadog/metrics.yaml").read_text()
    )
    return found


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The address of a server that a model calls, and the headers that it was sent."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", seen
        server.shutdown()


def scene(agent: Agent, metrics: Receiver, **others: Any) -> dict[str, Any]:
    """Return the settings of a service that reports all there is to report."""
    return {
        "DD_TRACE_AGENT_URL": agent.url,
        "DD_DOGSTATSD_URL": metrics.url,
        "DD_SERVICE": "judged",
        "DD_ENV": "test",
        "LOG_SAMPLE": 1,
    } | others


@dataclass
class Watched:
    """A service, and all that it reports."""

    service: Service
    agent: Agent
    metrics: Receiver

    @property
    def version(self) -> str:
        version: str = manifest(self.service.folder)["version"]
        return version

    def instance(self, mark: float | None = None) -> dict[str, Any]:
        first = next(iter(self.service.instance))
        return self.service.instance | ({} if mark is None else {first: mark})

    def ask(self, request_id: str, *marks: float | None, **headers: str) -> requests.Response:
        """Send a request of so many rows, by which the model knows what to do."""
        body = {"instances": [self.instance(mark) for mark in marks or (None,)]}
        return self.service.post(body, **{"X-Request-Id": request_id}, **headers)

    def root(self, request_id: str) -> Span:
        """Return the span of a request, waiting for it."""
        (span,) = self.agent.wait_spans(1, {"request_id": request_id})
        return span

    def trace(self, span: Span) -> list[Span]:
        """Return all spans of a span's trace."""
        return [other for other in self.agent.spans if other["trace_id"] == span["trace_id"]]

    def predict_span(self, root: Span) -> Span:
        """Return the span of the model's call that a request was in: its child, or linked."""
        known = {span["span_id"]: span for span in self.agent.spans}
        found = [s for s in known.values() if s["parent_id"] == root["span_id"]]
        found += [known[int(link["span_id"], 16)] for link in links(root)]
        (span,) = found
        assert span["name"] == "inference.predict"
        return span

    def lines(self, request_id: str) -> list[dict[str, Any]]:
        """Return the log lines of a request."""
        return [line for line in log(self.service) if line.get("request_id") == request_id]

    def settle(self) -> None:
        """Wait until all that was counted has been delivered."""
        number = self.metrics.total("inference.requests", route="/openapi.json")
        assert requests.get(f"{self.service.url}/openapi.json", timeout=10).ok
        self.metrics.wait(
            lambda: self.metrics.total("inference.requests", route="/openapi.json") > number
        )


def trace_id(span: Span) -> int:
    """Return the whole id, of which the agent shows two halves."""
    upper = span["meta"].get("_dd.p.tid", "0")
    return int(upper, 16) << 64 | int(span["trace_id"])


def links(span: Span) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(span["meta"].get("_dd.span_links", "[]"))
    return found


def log(service: Service) -> list[dict[str, Any]]:
    """Return all lines that a service has written; each must be a JSON object with the schema."""
    found = []
    for text in service.logged.splitlines():
        line = json.loads(text)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"]), text
        assert line["level"] in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), text
        assert line["logger"] and isinstance(line["message"], str), text
        found.append(line)
    return found


def conforms(metrics: Receiver, catalogue: dict[str, dict[str, Any]], version: str) -> None:
    """Check that all that was received is in the catalogue: by name, with kind and all its tags."""
    for sample in metrics.samples:
        metric = catalogue[sample.name]
        assert sample.kind == KINDS[metric["kind"]], sample
        assert sample.tags.keys() == UNIFIED | set(metric["tags"]), sample
        unified = [sample.tags[key] for key in sorted(UNIFIED)]
        assert unified == ["test", "judged", version], sample
        assert sample.fields.keys() <= {"c:"}, sample
        if metric["unit"] == "second" or metric["kind"] == "count":
            assert min(sample.values) >= 0, sample


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls at the same time; return what they returned."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@pytest.fixture(scope="module")
def watched(
    baked: Path,
    tmp_path_factory: pytest.TempPathFactory,
    agent: Agent,
    elsewhere: tuple[str, list[dict[str, str]]],
) -> Iterator[Watched]:
    folder = copied(baked, tmp_path_factory.mktemp("watched"))
    source = (folder / "model.py").read_text().replace("import pandas", "import os\nimport pandas")
    (folder / "model.py").write_text(source + MODEL)
    vouched(folder)
    with (folder / "service" / "app.py").open("a") as file:
        file.write(WAIT)
    with Receiver() as metrics:
        env = scene(agent, metrics, ELSEWHERE=elsewhere[0], MAX_QUEUED_ROWS=20)
        with serve(folder, MAX_QUEUE_MS=60_000, **env) as service:
            yield Watched(service, agent, metrics)


def test_waits_take_no_time_from_each_other(watched: Watched) -> None:
    """With ddtrace loaded too late they would queue: everything else would still work."""

    def wait() -> int:
        return requests.get(f"{watched.service.url}/wait", timeout=30).status_code

    assert wait() == 200
    started = time.monotonic()
    assert together(*[wait] * 8) == [200] * 8
    took = time.monotonic() - started
    print(f"8 waits of 0.5 s: {took:.2f} s")
    assert took < 1.5


def test_request_is_told_by_one_span_one_line_and_one_id(watched: Watched) -> None:
    before = time.time_ns()
    answer = watched.ask("told-1", None, None)
    assert answer.status_code == 200
    assert answer.headers["X-Request-Id"] == "told-1"
    assert answer.headers["X-Model-Version"] == watched.version

    root = watched.root("told-1")
    assert (root["name"], root["service"]) == ("inference.request", "judged")
    assert (root["resource"], root["type"]) == ("POST /predict", "web")
    assert root["error"] == 0 and not root["parent_id"]
    assert before < root["start"] < root["start"] + root["duration"] < time.time_ns()
    assert root["meta"].items() >= {
        "http.method": "POST",
        "http.route": "/predict",
        "http.status_code": "200",
        "request_id": "told-1",
        "version": watched.version,
        "env": "test",
        "span.kind": "server",
    }.items()  # fmt: skip
    assert root["metrics"]["inference.rows"] == root["metrics"]["inference.batch_rows"] == 2
    assert 0 <= root["metrics"]["inference.queue_wait_ms"] < 1000
    # And one of the model's call, made in a native thread; no third.
    call = watched.predict_span(root)
    assert len(watched.trace(root)) == 2
    assert call["metrics"]["inference.batch_rows"] == 2
    assert call["meta"]["version"] == watched.version
    assert root["start"] <= call["start"]
    assert call["start"] + call["duration"] <= root["start"] + root["duration"]

    (line,) = watched.lines("told-1")
    assert line.items() >= {
        "level": "INFO",
        "dd.trace_id": f"{trace_id(root):032x}",
        "dd.span_id": str(root["span_id"]),
        "route": "/predict",
        "http.status_code": 200,
        "model_version": watched.version,
    }.items()  # fmt: skip
    assert line["duration_ms"] == pytest.approx(root["duration"] / 1e6, abs=20)

    # An id of the service's own is as good.
    made = watched.service.post(watched.service.body).headers["X-Request-Id"]
    assert watched.root(made) and watched.lines(made)


def test_errors_are_told_with_their_stack(watched: Watched) -> None:
    assert watched.ask("payload", 123456.75).status_code == 200
    assert watched.ask("broken-1", -1).status_code == 500
    assert watched.ask("broken-2", -2).status_code == 400
    bad = {"instances": [watched.instance() | {"secret-name": "secret-value"}]}
    assert watched.service.post(bad, **{"X-Request-Id": "broken-3"}).status_code == 400
    unread = requests.get(
        f"{watched.service.url}/broken", headers={"X-Request-Id": "broken-4"}, timeout=10
    )
    assert unread.status_code == 500

    for request_id, what in ("broken-1", "model"), ("broken-4", "view"):
        span = watched.root(request_id)
        assert span["error"] == 1
        assert span["meta"]["error.type"].endswith("RuntimeError")
        assert span["meta"]["error.message"] == f"a broken\n{what}"
        assert "Traceback" in span["meta"]["error.stack"]
        assert f"a broken\n{what}" in span["meta"]["error.stack"]
        (line,) = watched.lines(request_id)
        assert line["level"] == "ERROR" and line["http.status_code"] == 500
        assert line["error.kind"] == "RuntimeError"
        assert "Traceback" in line["error.stack"] and f"a broken\n{what}" in line["error.stack"]
        assert line["dd.span_id"] == str(span["span_id"])
    call = watched.predict_span(watched.root("broken-1"))
    assert call["error"] == 1 and "error.stack" in call["meta"]

    for request_id in "broken-2", "broken-3":  # the client's errors, not ours
        span = watched.root(request_id)
        assert span["error"] == 0 and span["meta"]["http.status_code"] == "400"
        (line,) = watched.lines(request_id)
        assert line["http.status_code"] == 400 and line["level"] != "ERROR"
    # No payloads anywhere.
    told = watched.service.logged + json.dumps(watched.agent.spans)
    assert "secret" not in told and "123456.75" not in told


UPSTREAM = [
    (
        {"x-datadog-trace-id": "1234567890123456789", "x-datadog-parent-id": "987654321"}
        | {"x-datadog-sampling-priority": "1"},
        1234567890123456789,
        987654321,
    ),
    (
        {"x-datadog-trace-id": "1234567890123456790", "x-datadog-parent-id": "987654322"}
        | {"x-datadog-sampling-priority": "2", "x-datadog-tags": "_dd.p.tid=640cfd8d00000000"},
        0x640CFD8D00000000 << 64 | 1234567890123456790,
        987654322,
    ),
    (
        {"traceparent": "00-80f198ee56343ba864fe8b2a57d3eff7-00f067aa0ba902b7-01"},
        0x80F198EE56343BA864FE8B2A57D3EFF7,
        0x00F067AA0BA902B7,
    ),
]


@pytest.mark.parametrize(("headers", "trace", "parent"), UPSTREAM)
def test_trace_from_upstream_goes_on(
    watched: Watched, headers: dict[str, str], trace: int, parent: int
) -> None:
    request_id = f"upstream-{parent}"
    assert watched.ask(request_id, **headers).status_code == 200
    root = watched.root(request_id)
    assert (trace_id(root), root["parent_id"]) == (trace, parent)
    assert root["metrics"]["_sampling_priority_v1"] >= 1
    call = watched.predict_span(root)
    # The upper half of an id stands on the first span of what was sent together.
    assert (call["trace_id"], call["parent_id"]) == (root["trace_id"], root["span_id"])
    (line,) = watched.lines(request_id)
    assert line["dd.trace_id"] == f"{trace:032x}"


@pytest.mark.parametrize("first_is_kept", [True, False])
def test_call_of_a_batch_is_seen_from_each_of_its_requests(
    watched: Watched, first_is_kept: bool
) -> None:
    name = f"batch-{first_is_kept}"
    # As a sampler upstream says it.
    dropped = {"x-datadog-trace-id": "4711", "x-datadog-parent-id": "11"}
    headers = {} if first_is_kept else dropped | {"x-datadog-sampling-priority": "-1"}
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(watched.ask, f"{name}-0", -4)]
        time.sleep(0.1)  # the model is busy now
        for rows in range(1, 5):
            answers.append(pool.submit(watched.ask, f"{name}-{rows}", *[None] * rows, **headers))
            time.sleep(0.02)
            headers = {}
        assert [answer.result().status_code for answer in answers] == [200] * 5

    roots = [watched.root(f"{name}-{rows}") for rows in range(1, 5)]
    (call,) = {watched.predict_span(root)["span_id"] for root in roots}
    (span,) = [span for span in watched.agent.spans if span["span_id"] == call]
    assert span["metrics"]["inference.batch_rows"] == 10
    # The child of the first whose trace will be kept, linked from the others.
    (parent,) = [root for root in roots if root["span_id"] == span["parent_id"]]
    assert parent["trace_id"] == span["trace_id"]
    assert first_is_kept or parent is not roots[0]
    for rows, root in enumerate(roots, 1):
        assert root["metrics"]["inference.rows"] == rows
        assert root["metrics"]["inference.batch_rows"] == 10
        assert root["metrics"]["inference.queue_wait_ms"] > 100
        linked = [int(link["trace_id"], 16) for link in links(root)]
        assert linked == ([] if root is parent else [trace_id(parent)])


def test_what_a_model_calls_is_traced(
    watched: Watched, elsewhere: tuple[str, list[dict[str, str]]]
) -> None:
    assert watched.ask("outgoing-1", -3).status_code == 200
    root = watched.root("outgoing-1")
    call = watched.predict_span(root)
    outgoing = [s for s in watched.trace(root) if s["parent_id"] == call["span_id"]]
    assert [span["name"] for span in outgoing] == ["requests.request"]
    assert outgoing[0]["meta"]["http.status_code"] == "204"
    (headers,) = elsewhere[1]
    assert int(headers["x-datadog-trace-id"]) == root["trace_id"]
    assert int(headers["x-datadog-parent-id"]) == outgoing[0]["span_id"]
    # The next call of the thread is another trace's.
    assert watched.ask("outgoing-2").status_code == 200
    assert len(watched.trace(watched.root("outgoing-2"))) == 2
    assert trace_id(watched.root("outgoing-2")) != trace_id(root)


def test_health_is_nobodys_business(watched: Watched) -> None:
    watched.settle()
    spans, lines = len(watched.agent.spans), len(log(watched.service))
    number = watched.metrics.total("inference.requests")
    for _ in range(20):
        for path in "/healthz", "/readyz", "/readyz?full=1":
            assert requests.get(watched.service.url + path, timeout=10).ok
    assert watched.ask("after-health").status_code == 200
    watched.settle()
    assert watched.root("after-health")
    # The one just asked, and the two that settled.
    assert watched.metrics.total("inference.requests") <= number + 2
    assert len(watched.agent.spans) <= spans + 4
    assert len(log(watched.service)) <= lines + 2
    everything = json.dumps(watched.agent.spans) + repr(watched.metrics.datagrams)
    assert "healthz" not in everything and "readyz" not in everything


def test_counts_are_what_clients_have_seen(
    watched: Watched, catalogue: dict[str, dict[str, Any]]
) -> None:
    metrics, service = watched.metrics, watched.service
    watched.settle()
    before = len(metrics.samples)
    seen: Counter[tuple[str, str]] = Counter()
    predicted: list[dict[str, Any]] = []

    def ask(*marks: float | None, **headers: str) -> int:
        response = watched.ask("counted", *marks, **headers)
        status = response.status_code
        seen["/predict", str(status)] += 1
        if status == 200:
            predicted.extend(response.json()["predictions"])
        return status

    def get(path: str, route: str, method: str = "GET") -> None:
        response = requests.request(method, service.url + path, timeout=10)
        seen[route, str(response.status_code)] += 1

    with ThreadPoolExecutor(4) as pool:
        busy = pool.submit(ask, -4)
        time.sleep(0.1)
        late = pool.submit(ask, **{"X-Request-Timeout-Ms": "50"})
        assert late.result() == 504
        with closing(service.connect()) as gone:
            head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(service.body)}\r\n"
            head += "Content-Type: application/json\r\n\r\n"
            gone.sendall(head.encode() + service.body)
            time.sleep(0.05)
            # It is reset: to close it would be to say that there is no further request.
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        seen["/predict", "499"] += 1
        queued = pool.submit(ask, *[None] * 15)
        time.sleep(0.05)
        assert ask(*[None] * 10) == 503
        assert (busy.result(), queued.result()) == (200, 200)
    assert [ask(1e6, 1e6, None), ask(-1), ask(-2), ask()] == [200, 500, 400, 200]
    get("/metadata", "/metadata")
    get("/predict", "other")
    get("/docs/swagger-ui.css", "/docs/_path_path_")
    get("/nothing/here", "other")
    get("/nothing/there", "other", "DELETE")
    get("/broken", "/broken")
    with closing(service.connect()) as connection:
        connection.sendall(b"GET\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    seen["other", "400"] += 1  # gunicorn's refusals count too
    watched.settle()
    time.sleep(1.2)  # gauges come once a second
    seen["/openapi.json", "200"] += 1

    conforms(metrics, catalogue, watched.version)
    found = metrics.samples[before:]

    def total(name: str, **tags: str) -> float:
        return sum(values(name, **tags))

    def values(name: str, **tags: str) -> list[float]:
        named = [s for s in found if s.name == name and tags.items() <= s.tags.items()]
        return [value for sample in named for value in sample.values]

    counted: Counter[tuple[str, str]] = Counter()
    outcomes: Counter[str] = Counter()
    for sample in found:
        if sample.name == "inference.requests":
            counted[sample.tags["route"], sample.tags["status"]] += int(sum(sample.values))
            outcomes[sample.tags["outcome"]] += int(sum(sample.values))
    assert counted == seen
    assert outcomes == {
        "ok": 7,
        "client_error": 5,  # a bad row, one method, two paths, no HTTP
        "shed": 1,
        "expired": 1,
        "cancelled": 1,
        "error": 2,
    }
    for outcome, count in outcomes.items():
        assert len(values("inference.latency", outcome=outcome)) == count
    assert total("inference.shed", reason="rows") == total("inference.shed") == 1
    assert total("inference.expired", reason="deadline") == 1
    assert total("inference.expired", reason="hung_up") == 1
    answered = seen["/predict", "200"]
    for name in "inference.decode", "inference.encode", "inference.queue_wait":
        assert len(values(name)) == answered, name
    # The expired one's row was dropped, or answered to nobody.
    assert total("model.rows") == total("inference.batch_size") == len(predicted)
    assert len(values("inference.predict_time")) == len(values("inference.batch_size"))
    assert max(values("inference.predict_time")) > 0.4
    for label in "benign", "malignant":
        count = sum(prediction["label"] == label for prediction in predicted)
        assert total("model.predictions", **{"class": label}) == count
    scores = sorted(prediction["score"] for prediction in predicted)
    assert sorted(values("model.value", field="score")) == pytest.approx(scores, rel=1e-4)
    # -4 and twice 1e6.
    first = next(iter(service.instance)).replace(" ", "_")
    assert total("model.out_of_range", input=first) == 3

    (worker,) = service.workers
    resident = int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    assert values("worker.rss", worker="0")[-1] == pytest.approx(resident, rel=0.1)
    assert 0 < total("worker.cpu", worker="0") < 10
    assert 0 <= values("worker.connections", worker="0")[-1] < 50
    assert time.time() - values("worker.start_time", worker="0")[-1] < 600
    assert values("inference.in_flight", worker="0")[-1] == 0
    assert values("inference.queued_rows", worker="0")[-1] == 0
    assert values("inference.event_loop_lag")
    assert 0 < metrics.values("worker.pss", worker="0")[-1] <= resident * 1.1
    # All but model.nulls: this model's inputs have no gaps. The others have tests of their own.
    expected = {name for name in catalogue if not name.startswith(("shadow.", "ab.", "feedback."))}
    expected -= {"model.nulls"}
    assert {sample.name for sample in metrics.samples} == expected


# What a client may say of itself, and would like to see in a datagram, a log line or a header.
HOSTILE = [
    "|#x:y",
    "a|c\nmodel.rows:999|c",
    "a,b:c|@0.1",
    "é".encode().decode("latin-1"),
    "x" * 300,
    '"}\n{"level":"ERROR"',
    "%0a%7c%23",
    "\x7f\x80\xff",
    "-1",
    "",
    "0" * 40,
    "99999999999999999999999999",
]
WORDS = st.sampled_from(HOSTILE) | st.text(
    st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["GET", "POST", "get", "X|#Y", "TRACE", "M" * 20]),
    st.sampled_from(["/", "/predict", "/docs/", "/metadata/", "/healthz/"]),
    WORDS,
    st.dictionaries(
        st.sampled_from(
            ["X-Request-Id", "traceparent", "tracestate", "baggage", "b3", "x-b3-traceid"]
            + ["x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-tags", "User-Agent"]
            + ["x-datadog-sampling-priority", "x-datadog-origin", "X-Request-Timeout-Ms"]
        ),
        WORDS,
        max_size=6,
    ),
)
def test_nothing_that_clients_say_breaks_or_multiplies(
    watched: Watched, method: str, path: str, word: str, headers: dict[str, str]
) -> None:
    lines = [f"{method} {path}{word.replace(' ', '')} HTTP/1.1", "Host: a", "Connection: close"]
    body = watched.service.body.decode()
    if (method, path) == ("POST", "/predict") and len(word) % 2:
        lines = ["POST /predict HTTP/1.1", "Host: a", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with closing(watched.service.connect()) as connection:
        connection.sendall("\r\n".join([*lines, "", body]).encode("latin-1"))
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:
            return  # refused before all of it was read
    assert re.match(rb"HTTP/1\.[01] [234]\d\d ", answer), answer


def test_after_all_that_everything_is_well_formed(
    watched: Watched, catalogue: dict[str, dict[str, Any]]
) -> None:
    watched.settle()
    conforms(watched.metrics, catalogue, watched.version)
    log(watched.service)
    routes = {s.tags["route"] for s in watched.metrics.samples if "route" in s.tags}
    views = {"/", "/metadata", "/openapi.json", "/docs/", "/docs", "/docs/_path_path_"}
    assert routes <= views | {"/predict", "/wait", "/broken", "other", "/docs/_path:path_"}
    assert watched.metrics.total("inference.requests", route="other") > 3
    resources = {s["resource"] for s in watched.agent.spans if s["name"] == "inference.request"}
    assert len(resources) < 40 and max(map(len, resources)) < 100
    (event,) = watched.metrics.events
    assert event.title == f"judged {watched.version} started"
    assert event.tags["version"] == watched.version


# Speaks for the service: a line of JSON in, a list of values; what becomes of them goes out.
SPEAK = """
import json, sys
from service.metrics import connect, tag
metrics = connect()
for line in sys.stdin:
    for value in json.loads(line):
        metrics.count("model.predictions", 1, tag("class", value))
        metrics.observe("model.value", 0.5, tag("field", value))
        metrics.event(f"{value} started", f"on {value}", tag("class", value))
    metrics.deliver()
    print(flush=True)
metrics.stop()
"""


@contextmanager
def speaking(folder: Path, script: str, metrics: Receiver) -> Iterator[Callable[[Any], None]]:
    """Yield what hands a value to a script that uses the service's code and sends metrics."""
    env = {"DD_DOGSTATSD_URL": metrics.url, "DD_SERVICE": "s", "DD_VERSION": "1"}
    with subprocess.Popen(
        [PYTHON, "-c", script],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:

        def say(value: Any) -> None:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(value).encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"\n"

        yield say
    assert process.returncode == 0


def test_no_value_breaks_a_datagram(tmp_path: Path) -> None:
    said = 0

    with (
        Receiver(tmp_path / "dsd.socket") as metrics,
        speaking(TEMPLATE, SPEAK, metrics) as say,
    ):

        @settings(max_examples=100, deadline=None)
        @given(st.lists(st.text(max_size=300) | st.sampled_from(HOSTILE), max_size=20))
        def speak(values: list[str]) -> None:
            nonlocal said
            say(values)
            said += len(values)
            metrics.wait(lambda: metrics.total("model.predictions") == said)

        speak()
        metrics.wait(lambda: len(metrics.events) == said)
        for sample in metrics.samples:
            (key,) = sample.tags.keys() - {"service", "version"}
            assert len(sample.tags[key]) <= 100
        assert metrics.total("model.value") == said / 2


# A manifest, the rows of a call and the classes that they got.
DRIFT = """
import json, sys
import msgspec
from service.artifact import Manifest
from service.drift import Drift
from service.metrics import connect
manifest, rows, classes = json.loads(sys.stdin.readline())
metrics = connect()
drift = Drift(msgspec.convert(manifest, Manifest), metrics)
drift.call([tuple(row) for row in rows], [{"label": name} for name in classes])
metrics.deliver()
print(flush=True)
metrics.stop()
"""


def test_names_of_classes_and_inputs_neither_break_nor_multiply(
    baked: Path, tmp_path: Path, catalogue: dict[str, dict[str, Any]]
) -> None:
    classes = ["良性", "悪性", *HOSTILE, *[f"class {i}" for i in range(16)]]
    number = {"type": "float", "dtype": "float64", "nullable": True}
    inputs = [{"name": f"in|put,{i}", "minimum": 0.0, "maximum": 29.0, **number} for i in range(60)]
    label = {"name": "label", "type": "string"}
    outputs = {"kind": "classification", "classes": classes, "fields": [label]}
    rows = [[value] * 60 for value in [*range(28), None, 1e6]]
    with (
        Receiver(tmp_path / "dsd.socket") as metrics,
        speaking(baked, DRIFT, metrics) as say,
    ):
        say([manifest(baked) | {"inputs": inputs, "outputs": outputs}, rows, classes])
        metrics.wait(lambda: metrics.total("model.rows") == 30)
        metrics.wait(lambda: metrics.total("model.out_of_range") == 60)
        tags: dict[str, set[str]] = {"class": set(), "input": set()}
        for sample in metrics.samples:
            assert sample.tags.keys() - UNIFIED == set(catalogue[sample.name]["tags"]), sample
            for key in tags.keys() & sample.tags.keys():
                tags[key].add(sample.tags[key])
    assert len(tags["class"]) <= 21 and len(tags["input"]) <= 51
    assert "other" in tags["class"] and "other" in tags["input"]
    assert {"良性", "悪性"} <= tags["class"]  # as Datadog takes them
    assert metrics.total("model.predictions") == 30
    assert metrics.total("model.nulls") == 60


@contextmanager
def clients(service: Service, count: int) -> Iterator[list[str]]:
    """Have clients ask, each on a connection that it keeps; yield the ids that were answered."""
    answered: list[str] = []
    enough = threading.Event()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        with closing(connection):
            while not enough.is_set():
                headers = {"Content-Type": "application/json", "X-Request-Id": f"c{number}"}
                connection.request("POST", "/predict", service.body, headers)
                response = connection.getresponse()
                response.read()
                assert response.status == 200
                answered.append(response.headers["X-Request-Id"])
                # A worker that is young when it retires has no successor beside it.
                time.sleep(0.05)

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(client, number) for number in range(count)]
        try:
            yield answered
        finally:
            enough.set()
        for future in futures:
            future.result()


# Slow once the file is there; each call answers what has come meanwhile.
SLOW_IF_ASKED = """import os
    from gevent.monkey import get_original
    get_original("time", "sleep")(0.5 if os.path.exists("slow") else 0)"""


@pytest.mark.parametrize(("workers", "traced", "socket"), [(2, True, "unix"), (1, False, "udp")])
def test_conservation(
    baked: Path,
    tmp_path: Path,
    agent: Agent,
    catalogue: dict[str, dict[str, Any]],
    workers: int,
    traced: bool,
    socket: str,
) -> None:
    """Workers are recycled, and at last stopped with requests in flight: nothing goes uncounted."""
    folder = wrapped(baked, tmp_path, SLOW_IF_ASKED)
    agent.clear()
    with Receiver(tmp_path / "dsd.socket" if socket == "unix" else None) as metrics:
        env = scene(agent, metrics, LOG_SAMPLE=0.3 if traced else 0, LOG_SLOW_MS=300)
        env |= {} if traced else {"DD_TRACE_ENABLED": "false"}
        env |= {"WEB_CONCURRENCY": workers, "MAX_REQUESTS": 150 // workers, "KEEPALIVE_SECONDS": 1}
        with serve(folder, **env) as service:
            first = service.wait_workers(workers)
            with clients(service, 6) as answered:
                deadline = time.monotonic() + 20
                while set(first) & set(service.workers):
                    assert time.monotonic() < deadline, service.logged
                    time.sleep(0.1)
            assert service.post(b"{", **{"X-Request-Id": "bad"}).status_code == 400
            total = len(answered) + 1
            (folder / "slow").touch()
            with ThreadPoolExecutor(8) as pool:
                last = [
                    pool.submit(service.post, service.body, **{"X-Request-Id": "last"})
                    for _ in range(8)
                ]
                time.sleep(0.25)
                assert not any(future.done() for future in last)
                service.process.terminate()
                assert [future.result().status_code for future in last] == [200] * 8
                total += 8
            assert service.process.wait(10) == 0
            lines = log(service)
        metrics.wait(lambda: metrics.total("inference.requests", route="/predict") >= total, 3)
        assert metrics.total("inference.requests", route="/predict") == total
        assert len(metrics.values("inference.latency")) == total
        assert metrics.total("inference.requests", status="400") == 1
        assert metrics.total("model.rows") == total - 1
        conforms(metrics, catalogue, manifest(folder)["version"])
        # One start of the service, whatever comes and goes within it.
        assert len(metrics.events) == 1
        # Numbers of workers are used again; more than one generation may be ending.
        slots = {s.tags["worker"] for s in metrics.samples if "worker" in s.tags}
        assert slots <= {str(number) for number in range(3 * workers)}
    if traced:
        roots = agent.wait_spans(total, {"span.kind": "server"})
        assert len(roots) == len({span["span_id"] for span in roots}) == total
        calls = [span for span in agent.spans if span["name"] == "inference.predict"]
        assert sum(span["metrics"]["inference.batch_rows"] for span in calls) == total - 1
    else:
        assert not agent.spans
    print(f"{total} requests, {len(lines)} lines")
    # Failed and slow ones are logged always, others by the share asked for.
    told = Counter(line["request_id"] for line in lines if "request_id" in line)
    assert (told.pop("bad"), told.pop("last")) == (1, 8)
    share = sum(told.values()) / (total - 9)
    assert 0.1 < share < 0.5 if traced else share < 0.05
    assert not any(line["level"] in ("ERROR", "CRITICAL") for line in lines)
    assert all(("dd.trace_id" in line) == traced for line in lines if "request_id" in line)


def test_copies_are_marked_where_a_candidate_tells_of_them(
    baked: Path, agent: Agent, catalogue: dict[str, dict[str, Any]]
) -> None:
    """So that live's dashboards stay clean, and a copy's trace is not part of a client's."""
    agent.clear()
    version = manifest(baked)["version"]
    with Receiver() as of_live, Receiver() as of_candidate:
        role = scene(agent, of_candidate, SHADOW_ROLE="candidate", WEB_CONCURRENCY=1)
        with serve(baked, **role) as candidate:
            env = scene(agent, of_live, SHADOW_URL=candidate.url, WEB_CONCURRENCY=1)
            with serve(baked, SHADOW_MAX_RPS=0, **env) as live:
                watched = Watched(live, agent, of_live)
                traced = {"traceparent": f"00-{1:032x}-{2:016x}-01"}
                for number in range(20):
                    assert watched.ask(f"copy-{number}", **traced).status_code == 200
                of_live.wait(lambda: of_live.total("shadow.compare", verdict="match") == 20)
                live.process.terminate()
                assert live.process.wait(10) == 0
                pairs = {line["pair_id"] for line in log(live) if "pair_id" in line}
            candidate.process.terminate()
            assert candidate.process.wait(10) == 0
            lines = log(candidate)
        copies = agent.wait_spans(20, {"traffic": "shadow"})
        assert {span["meta"]["shadow.pair_id"] for span in copies} == pairs and len(pairs) == 20
        roots = [span for span in agent.spans if span["meta"].get("span.kind") == "server"]
        own = [span for span in roots if "traffic" not in span["meta"]]
        assert len(own) == 20 and {trace_id(span) for span in own} == {1}
        assert 1 not in {trace_id(span) for span in copies}

        conforms(of_live, catalogue, version)
        expected = {name for name in catalogue if name.startswith("shadow.")}
        assert expected <= {sample.name for sample in of_live.samples}
        of_candidate.wait(lambda: of_candidate.total("inference.requests") == 20)
        assert {sample.tags.pop("traffic") for sample in of_candidate.samples} == {"shadow"}
        conforms(of_candidate, catalogue, version)
    access = [line for line in lines if line["logger"] == "service.access"]
    assert len(access) == 20 and {line["shadow.pair_id"] for line in access} == pairs
    usage = [line for line in lines if line.get("event") == "shadow.usage"][-1]
    assert (usage["requests"], usage["version"]) == (20, version)
    assert 0 < usage["cpu_seconds"] < 5
