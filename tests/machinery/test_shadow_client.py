"""The client that posts copies takes nothing but plain answers, each for its own request."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import pytest
from answering import OK, says, serving
from gevent.event import Event
from gevent.threadpool import ThreadPool

from service.shadow.client import Answer, Client, Failed
from service.shadow.settings import Target


@pytest.fixture
def client_of() -> Iterator[Callable[..., Client]]:
    """Makes a client of a server that talks so."""
    with ExitStack() as stack:

        def make(talk: Callable[[Any], None]) -> Client:
            port = stack.enter_context(serving(talk))
            client = Client(Target("127.0.0.1", port, ""), 0.5, ThreadPool(1))
            stack.callback(client.close)
            return client

        yield make


def request(number: int = 0) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-Id: %d\r\nContent-Length: 0\r\n\r\n" % number


def answer_of(client: Client, number: int = 0) -> Answer:
    client.send(request(number), str(number))
    while (answer := client.poll()) is None:
        event = Event()
        due = client.watch(event.set)
        event.wait(max(0.0, due - time.monotonic()))
        client.unwatch()
    return answer


# What else a candidate may do wrong is in tests/candidates.py, and tried with a whole service.
@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"HTTP/1.1 200 OK\r\n", b""], "protocol"),
        ([b"HTTP/1.1 200 OK\r\n\r\nok"], "protocol"),
        ([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], "protocol"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], "protocol"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"], "protocol"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"], "protocol"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: \x00\r\n\r\nok"], "protocol"),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
            "protocol",
        ),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 3000 + b"\r\n"], "protocol"),
        ([b"garbage\r\n\r\n"], "protocol"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"], "too_large"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"], "timeout"),
    ],
)
def test_takes_nothing_but_plain_answers(
    client_of: Callable[..., Client], pieces: list[bytes], reason: str
) -> None:
    with pytest.raises(Failed, match=f"^{reason}$"):
        answer_of(client_of(says(*pieces)))


def test_reads_answers_that_come_in_pieces(client_of: Callable[..., Client]) -> None:
    client = client_of(says(OK[:9], OK[9:30], OK[30:-1], OK[-1:], wait=0.001))
    for _ in range(3):
        answer = answer_of(client)
        assert (answer.status, answer.body) == (200, b"ok")


def test_an_answer_that_came_in_time_may_be_read_later(client_of: Callable[..., Client]) -> None:
    client = client_of(says(OK))
    client.send(request(), "0")
    gevent.sleep(0.6)
    answer = client.poll()
    assert answer and answer.body == b"ok"


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_finds_nobody(host: str) -> None:
    client = Client(Target(host, 9, ""), 1.0, ThreadPool(1))
    with pytest.raises(Failed, match="^(connect|timeout)$"):
        answer_of(client)


@pytest.mark.parametrize("wait", [0.0, 0.02])
def test_what_nobody_asked_for_ends_the_connection(
    client_of: Callable[..., Client], wait: float
) -> None:
    connections = []

    def talk(connection: Any) -> None:
        connections.append(connection)
        says(OK, OK.replace(b"ok", b"no"), wait=wait)(connection)

    client = client_of(talk)
    for _ in range(3):
        assert answer_of(client).body == b"ok"
        gevent.sleep(2 * wait)
    assert len(connections) == 3


def test_a_late_second_answer_is_not_taken_for_the_next_request_s(
    client_of: Callable[..., Client],
) -> None:
    def talk(connection: Any) -> None:
        while received := connection.recv(65536):
            [number] = re.findall(rb"X-Request-Id: ([0-9]+)", received)
            content = OK.replace(b"\r\n\r\nok", b"\r\nX-Request-Id: %b\r\n\r\nok" % number)
            connection.sendall(content)
            gevent.sleep(0.02)
            connection.sendall(content)

    client = client_of(talk)
    assert answer_of(client, 1).headers["x-request-id"] == "1"
    with pytest.raises(Failed, match="^protocol$"):
        answer_of(client, 2)
    assert answer_of(client, 3).headers["x-request-id"] == "3"
