"""The short way for plain requests: what it takes, it reads as gunicorn would."""

from __future__ import annotations

import runpy
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.http import wsgi
from hypothesis import given
from hypothesis import strategies as st

from service import plain_http
from service.plain_http import MAX_BODY, peek, take

ADDRESS = ("127.0.0.1", 4711)
BODY = b'{"instances": []}'
GOOD = [b"Host: localhost:8000", b"Content-Length: %d" % len(BODY)]


def message(*headers: bytes, line: bytes = b"POST /predict HTTP/1.1", body: bytes = BODY) -> bytes:
    return b"\r\n".join([line, *headers, b"", body])


class Pair:
    """Two connected sockets: what a client sends, a server may read."""

    def __init__(self, sent: bytes) -> None:
        self.server, self.client = socket.socketpair()
        self.client.sendall(sent)
        self.client.shutdown(socket.SHUT_WR)

    def __enter__(self) -> socket.socket:
        return self.server

    def __exit__(self, *_: Any) -> None:
        self.server.close()
        self.client.close()


def short(sent: bytes) -> dict[str, Any] | None:
    """Return the environment that the short way makes of a request, None if it leaves it."""
    with Pair(sent) as server:
        if (environ := take(server, peek(server))) is None:
            assert server.recv(len(sent), socket.MSG_PEEK) == sent
            return None
        return environ | {"wsgi.input": environ["wsgi.input"].read(MAX_BODY)}


def long(sent: bytes) -> dict[str, Any]:
    """Return the environment that gunicorn makes of a request; raises what gunicorn raises."""
    with Pair(sent) as server:
        config = Config()
        request = next(http.get_parser(config, server, ADDRESS))
        _, environ = wsgi.create(request, server, ADDRESS, ADDRESS, config)
        return dict(environ) | {"wsgi.input": environ["wsgi.input"].read(MAX_BODY)}


def same(sent: bytes) -> bool:
    """Tell whether the short way takes the request, having checked that it reads it right."""
    found = short(sent)
    if found is None:
        return False
    expected = long(sent)
    # The scheme: a proxy may tell gunicorn of it, but nothing asks for it.
    ours = {"wsgi.url_scheme", "SERVER_NAME", "wsgi.errors", "gunicorn.socket", "wsgi.multithread"}
    assert {k: v for k, v in found.items() if k not in ours} == {
        k: expected.get(k, "" if k == "CONTENT_TYPE" else None) for k in found if k not in ours
    }
    assert {k for k in expected if k.startswith("HTTP_")} <= set(found)
    return True


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b"Content-Type: application/json"],
        [b"content-type:application/json", b"X-Request-Id:   abc \t"],
        [b"Connection: keep-alive", b"Accept: */*", b"User-Agent: curl/8", b"X-Empty:"],
        [b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-Proto: https"],
        [b"X-Latin: caf\xe9", b"X-Tab: a\tb"],
    ],
)
def test_takes_what_clients_send(headers: list[bytes]) -> None:
    assert same(message(*GOOD, *headers))


@pytest.mark.parametrize(
    "sent",
    [
        message(*GOOD, line=b"GET /predict HTTP/1.1"),
        message(*GOOD, line=b"POST /predict HTTP/1.0"),
        message(*GOOD, line=b"POST /predict?x=1 HTTP/1.1"),
        message(*GOOD, line=b"POST http://localhost/predict HTTP/1.1"),
        message(*GOOD, line=b"POST  /predict HTTP/1.1"),
        message(GOOD[0]),
        message(GOOD[1]),
        message(*GOOD, GOOD[1]),
        message(*GOOD, b"Host: other"),
        message(GOOD[0], b"Content-Length: +17"),
        message(GOOD[0], b"Content-Length: 1 7"),
        message(GOOD[0], b"Content-Length: 17, 17"),
        message(GOOD[0], b"Content-Length: 0x11"),
        message(GOOD[0], b"Content-Length: %d" % (MAX_BODY + 1)),
        message(*GOOD, b"Transfer-Encoding: chunked"),
        message(*GOOD, b"transfer-encoding : chunked"),
        message(*GOOD, b"Expect: 100-continue"),
        message(*GOOD, b"Connection: close"),
        message(*GOOD, b"Connection: keep-alive, Upgrade", b"Upgrade: h2c"),
        message(*GOOD, b"Script_Name: /x"),
        message(*GOOD, b"X-Forwarded-Proto: https", b"X-Forwarded-Ssl: off"),
        message(*GOOD, b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: http"),
        message(*GOOD, b"X-Forwarded-Ssl: on", b"X-Forwarded-Protocol: http"),
        message(*GOOD, b"X-Null: a\x00b"),
        message(*GOOD, b"X-Return: a\rb"),
        message(*GOOD, b" folded: x"),
        message(*GOOD, b"X-Long: " + b"x" * 5000),
        message(b"Host: a b", GOOD[1]),
        message(*GOOD).replace(b"\r\n", b"\n"),
        message(*GOOD)[:20],
    ],
)
def test_leaves_to_gunicorn_what_is_not_plain(sent: bytes) -> None:
    assert short(sent) is None


def test_the_path_of_a_proxy_may_stand_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT_PATH", "/models/v1.2")
    plain = runpy.run_path(plain_http.__file__)["PLAIN"]
    for path, taken in ("", True), ("/models/v1.2", True), ("/models/v1x2", False), ("/x", False):
        sent = message(*GOOD, line=f"POST {path}/predict HTTP/1.1".encode())
        assert bool(plain.match(sent)) == taken
        assert not plain_http.PLAIN.match(sent) or not path


def test_a_client_that_has_gone_is_none_to_read_from() -> None:
    with Pair(b"") as server, pytest.raises(OSError):
        peek(server)


names = st.sampled_from(
    [b"Host", b"host", b"Content-Length", b"Content-Type", b"Connection", b"Transfer-Encoding"]
    + [b"X-A", b"x-a", b"X_A", b"X-Forwarded-Proto", b"Expect", b"A b", b"", b" X", b"Te"]
)
values = st.sampled_from(
    [b"localhost", b"17", b"017", b"18", b"-1", b"keep-alive", b"close", b"chunked", b"", b"https"]
) | st.text(st.characters(max_codepoint=255), max_size=8).map(lambda t: t.encode("latin-1"))
headers = st.tuples(names, st.sampled_from([b":", b": ", b" : ", b":\t"]), values).map(b"".join)


@given(
    st.sampled_from([b"POST /predict HTTP/1.1"] * 9 + [b"POST /predict HTTP/1.2"]),
    st.lists(headers, max_size=4),
    st.integers(0, 4),
)
def test_whatever_it_takes_gunicorn_would_read_the_same(
    line: bytes, more: list[bytes], place: int
) -> None:
    same(message(*more[:place], *GOOD, *more[place:], line=line))


@pytest.mark.parametrize("noise", [b" " * 4000, b"a" * 4000, b"a:" * 2000, b"a: b\r\n" * 600])
def test_no_head_takes_long_to_look_at(noise: bytes) -> None:
    started = time.perf_counter()
    for sent in (
        message(*GOOD, noise + b"\x00"),
        message(noise),
        b"POST /predict HTTP/1.1" + noise,
    ):
        short(sent)
    assert time.perf_counter() - started < 0.05


@pytest.fixture
def coming() -> Iterator[tuple[Any, socket.socket]]:
    """A body of which half has come: its reader, and the client's end."""
    server, client = socket.socketpair()
    client.sendall(message(*GOOD, body=b"") + BODY[:7])
    environ = take(server, peek(server))
    assert environ is not None
    yield environ["wsgi.input"], client
    server.close()
    client.close()


def test_a_body_may_come_later_than_its_head(coming: tuple[Any, socket.socket]) -> None:
    body, client = coming
    client.sendall(BODY[7:] + b"POST the next one")
    assert body.read(1000) == BODY
    assert body.finish(0.1)


def test_a_body_that_nobody_read_is_cleared_away(coming: tuple[Any, socket.socket]) -> None:
    body, client = coming
    client.sendall(BODY[7:])
    assert body.finish(0.1)


def test_a_body_cut_short_ends_the_connection(coming: tuple[Any, socket.socket]) -> None:
    body, client = coming
    client.shutdown(socket.SHUT_WR)
    assert body.read(1000) == BODY[:7]
    assert not body.finish(0.1)
