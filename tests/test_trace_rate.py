"""An agent that is sent much says how much of it it wants: the rest is not even made.

Datadog's test agent takes all there is, so here one stands before it that answers with a rate, as
the real one does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from agent import Agent, Span, install
from harness import serve, wrapped

RATE = 0.2
REQUESTS = 1000
# Of so many, at that rate, five standard deviations around what is expected.
FEWEST, MOST = 136, 264


@contextmanager
def rated(agent: Agent, key: str) -> Iterator[str]:
    """Put a rate into the answers of an agent; yield the address that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            done = requests.put(agent.url + self.path, body, headers=dict(self.headers), timeout=10)
            content = f'{{"rate_by_service": {{"{key}": {RATE}}}}}'.encode()
            self.send_response(done.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT

        def do_GET(self) -> None:
            done = requests.get(agent.url + self.path, timeout=10)
            self.send_response(done.status_code)
            self.send_header("Content-Length", str(len(done.content)))
            self.end_headers()
            self.wfile.write(done.content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    install()
    with Agent() as agent:
        yield agent


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span["name"] == name]


def test_traces_come_at_the_rate_that_the_agent_asks_for(
    baked: Path, tmp_path: Path, agent: Agent
) -> None:
    fails = "if (frame.iloc[:, 0] == -1).any(): raise RuntimeError('broken')"
    folder = wrapped(baked, tmp_path, fails)
    with rated(agent, "service:rated,env:test") as url:
        settings = {"DD_TRACE_AGENT_URL": url, "DD_SERVICE": "rated", "DD_ENV": "test"}
        with serve(folder, **settings) as service, requests.Session() as session:

            def ask(request_id: str, body: bytes, **headers: str) -> int:
                sent = {"Content-Type": "application/json", "X-Request-Id": request_id} | headers
                return session.post(f"{service.url}/predict", body, headers=sent).status_code

            assert ask("first", service.body) == 200
            agent.wait_spans(1, {"request_id": "first"})
            for i in range(REQUESTS):
                assert ask(f"one-{i}", service.body) == 200
            upstream = {"x-datadog-trace-id": "4711", "x-datadog-parent-id": "11"}
            assert ask("upstream", service.body, **upstream) == 200
            first = next(iter(service.instance))
            broken = str(service.instance | {first: -1}).replace("'", '"').encode()
            for i in range(20):
                assert ask(f"broken-{i}", b'{"instances": [' + broken + b"]}") == 500
            service.process.terminate()
            assert service.process.wait(20) == 0, service.logged

    spans = agent.spans
    asked = [s for s in named(spans, "inference.request") if s["meta"]["request_id"][:4] == "one-"]
    assert FEWEST < len(asked) < MOST
    for span in asked:
        assert span["metrics"]["_sampling_priority_v1"] == 1
        assert span["metrics"]["_sample_rate"] == span["metrics"]["_dd.agent_psr"] == RATE
    # The calls of those, and of no others.
    parents = {span["parent_id"]: span for span in named(spans, "inference.predict")}
    assert {span["span_id"] for span in asked} <= parents.keys()
    alone = [parents[span["span_id"]]["metrics"]["_sample_rate"] for span in asked]
    assert alone == pytest.approx([RATE] * len(asked))
    # Errors all, and what a client's trace asks for: each of them counts as one.
    (upstream_span,) = [s for s in spans if s["meta"].get("request_id") == "upstream"]
    assert upstream_span["trace_id"] == 4711 and "_sample_rate" not in upstream_span["metrics"]
    errors = [s for s in spans if s["meta"].get("request_id", "").startswith("broken-")]
    assert len(errors) == 20
    dropped = [span for span in errors if span["metrics"]["_sampling_priority_v1"] == 0]
    assert dropped and not any("_sample_rate" in span["metrics"] for span in dropped)
