"""What hostile or broken clients send to a live service: each gets an answer, none a 500."""

from __future__ import annotations

import gzip
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


def test_too_many_instances(small: Service) -> None:
    assert len(small.predict([small.instance] * 5)) == 5
    error = refused(small.post({"instances": [small.instance] * 6}), 413)["error"]
    assert error == "at most 5 instances in one request, got 6"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_wrong_content_type(small: Service, kind: str) -> None:
    refused(small.post(small.body, **{"Content-Type": kind}), 415)


def test_content_type_with_charset(small: Service) -> None:
    kind = "application/json; charset=utf-8"
    assert small.post(small.body, **{"Content-Type": kind}).status_code == 200


def test_compressed_body(small: Service) -> None:
    refused(small.post(gzip.compress(small.body), **{"Content-Encoding": "gzip"}), 415)


def with_value(service: Service, text: str) -> bytes:
    """Return a request whose first field has the value `text`, be it JSON or not."""
    name = next(iter(service.instance))
    return json.dumps({"instances": [service.instance | {name: "@"}]}).replace('"@"', text).encode()


NOT_JSON = [
    b"",
    b" ",
    b"nope",
    b"{",
    b"null",
    b"[]",
    b"1",
    b'"text"',
    b"{}",
    b"\xff\xfe{}",
    b'{"instances": [{"a": "\xff"}]}',
    b'{"instances": [{"\xed\xa0\x80": 1}]}',
    b"[" * 15_000,
    b'{"a":' * 3_000,
    b'{"instances": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b'{"instances": []}',
    b'{"instances": {}}',
    b'{"instances": null}',
    b'{"instances": [null]}',
    b'{"instances": [1]}',
    b'{"instances": [[]]}',
    b'{"instances": [{}]}',
    b'{"instances": [{}], "instances": [{}]}',
    b'{"instances": "\\ud800"}',
]


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:40])[2:-1])
def test_nonsense(small: Service, body: bytes) -> None:
    started = time.monotonic()
    refused(small.post(body), 400)
    assert time.monotonic() - started < 1


def test_deep_nesting(live: Service) -> None:
    for deep in [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]:
        refused(live.post(deep), 400)
        refused(live.post(b'{"instances": [%s]}' % deep), 400)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "NaN is not a JSON number"),
        ("Infinity", "Infinity is not a JSON number"),
        ("-Infinity", "-Infinity is not a JSON number"),
        ('"17.99"', "expected a number, got a string"),
        ("true", "expected a number, got true or false"),
        ("null", "expected a number, got null"),
        ("[]", "expected a number, got an array"),
        ("1e999", None),
        ("-1e999", None),
        ("1" + "0" * 400, None),
    ],
)
def test_value_that_is_no_number(small: Service, text: str, message: str | None) -> None:
    error = refused(small.post(with_value(small, text)), 400)
    if message:
        name = next(iter(small.instance))
        assert error["details"] == [{"path": f"instances[0].{name}", "message": message}]
        assert error["error"] == f"invalid request body: instances[0].{name}: {message}"


def test_path_names_the_instance(small: Service) -> None:
    name = list(small.instance)[7]
    broken = small.instance | {name: "x"}
    body = refused(small.post({"instances": [small.instance, small.instance, broken]}), 400)
    assert body["details"][0]["path"] == f"instances[2].{name}"
    in_order = list(small.instance.values())
    body = refused(small.post({"instances": [in_order, in_order[:7] + ["x"] + in_order[8:]]}), 400)
    assert body["details"][0]["path"] == "instances[1][7]"


def test_fields_that_are_not_as_agreed(small: Service) -> None:
    name = next(iter(small.instance))
    path = f"instances[0].{name}"
    missing = {key: value for key, value in small.instance.items() if key != name}
    body = refused(small.post({"instances": [missing]}), 400)
    assert body["details"] == [{"path": path, "message": "missing"}]

    body = refused(small.post({"instances": [small.instance | {"extra": 1}]}), 400)
    assert body["details"] == [{"path": "instances[0].extra", "message": "unknown field"}]

    body = refused(small.post({"instances": [small.instance], "extra": 1}), 400)
    assert body["details"] == [{"path": "extra", "message": "unknown field"}]

    body = refused(small.post({"instances": [small.instance], "parameters": {"x": 1}}), 400)
    assert body["details"] == [{"path": "parameters.x", "message": "unknown field"}]

    twice = json.dumps({"instances": [small.instance]}).replace("[{", f'[{{"{name}": 1, ')
    body = refused(small.post(twice.encode()), 400)
    assert body["details"] == [{"path": path, "message": "duplicate key"}]

    in_order = list(small.instance.values())
    body = refused(small.post({"instances": [in_order + [1]]}), 400)
    assert body["details"] == [{"path": "instances[0]", "message": "expected 30 values"}]


@pytest.mark.parametrize("garbage", [b"x", b"{}", b"\0", b"]", b","])
def test_trailing_garbage(small: Service, garbage: bytes) -> None:
    refused(small.post(small.body + garbage), 400)


def test_bare_health_of_http(live: Service) -> None:
    # What is no HTTP at all gets gunicorn's own 400, or a closed connection; the service goes on.
    for junk in [b"\0" * 1000, b"GET\r\n\r\n", b"POST /predict HTTP/9.9\r\n\r\n", b"\x16\x03\x01"]:
        with closing(live.connect()) as connection:
            connection.sendall(junk + b"\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            assert re.match(rb"$|HTTP/1\.1 (4\d\d|505) ", connection.recv(1000))
    assert live.predict([live.instance])


def test_request_id_is_echoed(live: Service) -> None:
    def named(given: str) -> str:
        response = live.post(live.body, **{"X-Request-Id": given})
        assert response.status_code == 200
        return response.headers["X-Request-Id"]

    assert named("my-id_1/2:3") == "my-id_1/2:3"
    assert named("x" * 128) == "x" * 128
    for bad in ["", "x" * 129, "two words", "tab\there", "é"]:
        assert re.fullmatch(r"[0-9a-f]{32}", named(bad)), bad
    without = [live.post(live.body).headers["X-Request-Id"] for _ in range(2)]
    assert without[0] != without[1]


def test_not_found(live: Service) -> None:
    body = refused(requests.get(f"{live.url}/nowhere?a=1", timeout=5), 404)
    assert body["error"] == "Not Found: GET /nowhere" and body["details"] == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", {"POST", "OPTIONS"}),
        ("DELETE", "/predict", {"POST", "OPTIONS"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", "/", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_wrong_method(live: Service, method: str, path: str, allowed: set[str]) -> None:
    response = requests.request(method, live.url + path, timeout=5)
    refused(response, 405)
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_answers_name_the_model_and_the_time(live: Service) -> None:
    response = live.post(live.body)
    assert (
        response.headers["X-Model-Version"]
        == requests.get(f"{live.url}/metadata", timeout=5).json()["version"]
    )
    stages = re.findall(r"(\w+);dur=[\d.]+", response.headers["Server-Timing"])
    assert stages == ["decode", "queue", "inference", "encode"]
