"""What hostile or broken clients send to a live service: each gets an answer, none a 500."""

from __future__ import annotations

import http.client
import json
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


def test_connections_outlive_the_pause_of_a_load_balancer(live: Service) -> None:
    ways = [head(f"Content-Length: {len(live.body)}") + live.body]
    ways.append(b"GET /metadata HTTP/1.1\r\nHost: test\r\n\r\n")
    connections = [live.connect() for _ in ways]
    for pause in (6, 0):  # a fraction of what they keep them for
        for connection, request in zip(connections, ways, strict=True):
            connection.sendall(request)
            assert answer(connection)[0] == 200
        time.sleep(pause)
    for connection in connections:
        connection.close()


def test_deep_nesting(live: Service) -> None:
    for deep in [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]:
        refused(live.post(deep), 400)
        refused(live.post(b'{"instances": [%s]}' % deep), 400)


@pytest.mark.parametrize(
    ("junk", "expected"),
    [
        (b"\0" * 1000, 400),
        (b"\x16\x03\x01", 400),
        (b"GET", 400),
        (b"POST /predict HTTP/9.9", 400),
        (b"GET predict HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: unheard-of", 400),
        (b"GET / HTTP/1.1\r\nX-Bad: \0" + b"x" * 5000, 400),
        (b"GET / HTTP/1.1\r\nExpect: the worst", 417),
        (b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 9000, 431),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1", 414),
    ],
)
def test_what_is_no_http_is_refused_and_logged_as_any_request(
    live: Service, junk: bytes, expected: int
) -> None:
    with closing(live.connect()) as connection:
        connection.sendall(junk + b"\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = json.loads(response.read())
    assert response.status == expected
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Model-Version"] and "Server" not in response.headers
    assert body.keys() == {"error", "details", "request_id"}
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert len(body["error"]) < 300 and "\n" not in body["error"]
    [line] = live.lines(body["request_id"])
    assert json.loads(line)["http.status_code"] == expected
    assert len(line) < 500 and live.predict([live.instance])


METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PROPFIND".split()


@pytest.mark.parametrize(
    ("target", "of_post"),
    [
        ("/predict", 200),
        ("//predict", 200),
        ("///predict", 200),
        ("/%70redict", 200),
        ("/%2Fpredict", 200),
        ("/predict?", 200),
        ("/predict?%ff&=&&;x=%00&x", 200),
        ("/predict#x", 200),
        ("http://made.up/predict", 200),
        ("http://made.up//predict", 200),
        ("http://made.up", 405),
        ("//", 405),
        ("/docs", 405),
        ("//docs", 405),
        ("/docs//x", 405),
        ("/docs/%00", 405),
        ("/docs/" + "x" * 3000, 405),
        ("/predict/", 404),
        ("/./predict", 404),
        ("/x/../predict", 404),
        ("/predict;x", 404),
        ("/Predict", 404),
        ("/predict%00", 404),
        ("/predict%0a", 404),
        ("/predict%20", 404),
        ("/%ff%fe", 404),
        ("/caf%e9", 404),
        ("/%ed%a0%80", 404),
        ("//[made.up/predict", 404),
        ("//made.up/predict", 404),
        ("/models/tumour/predict", 404),
        ("*", 400),
        ("predict", 400),
        ("http://[made.up/predict", 400),
        ("/caf\xe9", 400),
    ],
)
def test_whatever_the_path_it_is_a_route_or_an_error(
    live: Service, target: str, of_post: int
) -> None:
    logged = len(live.logged)
    for method in METHODS:
        content = head(f"Content-Length: {len(live.body)}") + live.body
        content = content.replace(b"Host: test", b"Host: made.up")
        line = f"{method} {target} HTTP/1.1".encode("latin-1")
        with closing(live.connect()) as connection:
            connection.sendall(content.replace(b"POST /predict HTTP/1.1", line))
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            body = response.read()
        assert response.status == of_post if method == "POST" else response.status < 500
        assert "made.up" not in str(response.headers)
        if response.status >= 400 and method != "HEAD":
            error = json.loads(body)["error"]
            assert "\n" not in error and len(error) < 700
    assert "Traceback" not in live.logged[logged:]


@pytest.mark.parametrize("padding", [b"", b" " * 70_000], ids=["quick", "by gunicorn"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], 200),
        (["X-Forwarded-Proto: https"], 200),
        (["X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"], 200),
        (["X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"], 400),
        (["X-Forwarded-Protocol: ssl", "X-Forwarded-Proto: http"], 400),
        (["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"], 400),
        (["Script_Name: /predict", "Path_Info: /metadata"], 200),
    ],
)
def test_headers_of_proxies_may_not_contradict_each_other(
    live: Service, headers: list[str], expected: int, padding: bytes
) -> None:
    body = live.body + padding
    status, _ = send(live, head(f"Content-Length: {len(body)}", *headers) + body)
    assert status == expected
