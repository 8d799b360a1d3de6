"""What hostile or broken clients send to a live service: each gets an answer, none a 500."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import Service, serve

MAX_BODY = 20_000
BODY_TIMEOUT = 1.0


@pytest.fixture(scope="module")
def small(baked: Path) -> Iterator[Service]:
    """The service with small limits. Each test leaves it running well."""
    limits = {"MAX_BODY_BYTES": MAX_BODY, "MAX_INSTANCES": 5, "BODY_TIMEOUT_SECONDS": BODY_TIMEOUT}
    with serve(baked, **limits) as service:
        yield service
        assert service.predict([service.instance])
        assert "Traceback" not in service.logged


def head(*headers: str) -> bytes:
    lines = ["POST /predict HTTP/1.1", "Host: test", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(body: bytes, size: int = 1000) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)] + [b""]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


def answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    return response.status, json.loads(response.read())


def send(service: Service, content: bytes) -> tuple[int, dict[str, Any]]:
    with closing(service.connect()) as connection:
        connection.sendall(content)
        return answer(connection)


def refused(response: requests.Response, status: int) -> dict[str, Any]:
    """Check that a response is a well-formed error; return its body."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert body.keys() == {"error", "details", "request_id"}
    assert body["error"] and "\n" not in body["error"]
    assert all(detail.keys() == {"path", "message"} for detail in body["details"])
    assert body["request_id"] == response.headers["X-Request-Id"]
    return body


def test_body_over_the_limit(small: Service) -> None:
    fits = small.body + b" " * (MAX_BODY - len(small.body))
    assert small.post(fits).status_code == 200
    error = refused(small.post(fits + b" "), 413)["error"]
    assert error == f"the body is larger than {MAX_BODY} bytes"


def test_huge_body_is_refused_before_it_is_sent(small: Service) -> None:
    # A Content-Length alone, and no byte of the body: the answer does not wait for it.
    started = time.monotonic()
    status, _ = send(small, head("Content-Length: 1000000000000"))
    assert status == 413
    assert time.monotonic() - started < BODY_TIMEOUT


def test_chunked_body(small: Service) -> None:
    status, body = send(small, head("Transfer-Encoding: chunked") + chunked(small.body))
    assert status == 200 and len(body["predictions"]) == 1


def test_chunked_body_over_the_limit(small: Service) -> None:
    content = small.body + b" " * MAX_BODY
    status, body = send(small, head("Transfer-Encoding: chunked") + chunked(content))
    assert status == 413 and str(MAX_BODY) in body["error"]


def test_endless_chunked_body(small: Service) -> None:
    with closing(small.connect()) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        connection.settimeout(10)
        sent = 0
        try:
            while sent < 100 * MAX_BODY:
                connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
                sent += 1024
            status, _ = answer(connection)
            assert status == 413
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was cut off, as it deserved


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_body_cut_short(small: Service, framing: str) -> None:
    with closing(small.connect()) as connection:
        if framing == "length":
            cut = head(f"Content-Length: {len(small.body)}") + small.body[:-10]
        else:
            cut = head("Transfer-Encoding: chunked") + chunked(small.body)[:-20]
        connection.sendall(cut)
        connection.shutdown(socket.SHUT_WR)
        try:
            status, _ = answer(connection)
        except (http.client.BadStatusLine, ConnectionResetError):
            return  # closed without a word, which is fine: the client has gone
        assert 400 <= status < 500


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n", b"3\r\nabcXX", b"-1\r\n"])
def test_broken_chunks(small: Service, chunks: bytes) -> None:
    status, _ = send(small, head("Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n")
    assert status == 400


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_body_that_never_comes(small: Service, framing: str) -> None:
    started = time.monotonic()
    status, body = send(small, head(framing))
    assert status == 408 and "within 1 s" in body["error"]
    assert BODY_TIMEOUT * 0.9 < time.monotonic() - started < BODY_TIMEOUT + 1


def test_body_that_trickles(small: Service) -> None:
    # Always a byte more, never the whole: the limit is on the whole.
    with closing(small.connect()) as connection:
        connection.sendall(head("Content-Length: 1000"))
        started = time.monotonic()
        connection.settimeout(0.1)
        while time.monotonic() - started < BODY_TIMEOUT + 2:
            try:
                connection.sendall(b" ")
                if connection.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                continue
        connection.settimeout(5)
        assert answer(connection)[0] == 408
        assert time.monotonic() - started < BODY_TIMEOUT + 1


def test_many_slow_clients_delay_nobody(small: Service) -> None:
    slow = [small.connect() for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(head("Content-Length: 100"))
        started = time.monotonic()
        assert small.post(small.body).status_code == 200
        assert time.monotonic() - started < BODY_TIMEOUT / 2
    finally:
        for connection in slow:
            connection.close()


def test_deep_nesting(live: Service) -> None:
    for deep in [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]:
        refused(live.post(deep), 400)
        refused(live.post(b'{"instances": [%s]}' % deep), 400)


def test_bare_health_of_http(live: Service) -> None:
    # What is no HTTP at all gets gunicorn's own 400, or a closed connection; the service goes on.
    for junk in [b"\0" * 1000, b"GET\r\n\r\n", b"POST /predict HTTP/9.9\r\n\r\n", b"\x16\x03\x01"]:
        with closing(live.connect()) as connection:
            connection.sendall(junk + b"\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            assert re.match(rb"$|HTTP/1\.1 (4\d\d|505) ", connection.recv(1000))
    assert live.predict([live.instance])
