"""Connections between two requests: woken by what comes, closed when nothing does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from service.keepalive import Arrival, Idle


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    server, client = socket.socketpair()
    yield server, client
    server.close()
    client.close()


@pytest.fixture
def arrival(pair: tuple[Any, Any]) -> Iterator[Arrival]:
    arrival = Arrival(pair[0])
    yield arrival
    arrival.close()


def test_each_request_wakes_once(pair: tuple[Any, Any], arrival: Arrival) -> None:
    server, client = pair
    read: list[bytes] = []

    def reader() -> None:
        while not read or read[-1]:
            arrival.wait()
            read.append(server.recv(10))

    waiting = gevent.spawn(reader)
    for n in range(1, 4):
        gevent.sleep(0.01)
        assert len(read) == n - 1
        client.sendall(b"%d" % n)
    gevent.sleep(0.01)
    client.close()
    waiting.get(timeout=5)
    assert read == [b"1", b"2", b"3", b""]


def test_what_came_too_early_is_not_lost_and_costs_nothing(
    pair: tuple[Any, Any], arrival: Arrival
) -> None:
    server, client = pair
    client.sendall(b"1")
    arrival.wait()
    assert server.recv(1) == b"1"
    # It computes, and the next two are there already.
    client.sendall(b"23")
    spent = time.process_time()
    gevent.sleep(0.5)
    assert time.process_time() - spent < 0.25, "the hub goes round and round"
    for expected in b"2", b"3":
        arrival.wait()
        assert server.recv(1) == expected


def test_a_wait_that_is_given_up_leaves_no_trace(pair: tuple[Any, Any], arrival: Arrival) -> None:
    server, client = pair
    given_up = gevent.spawn(arrival.wait)
    gevent.sleep(0)
    given_up.kill()
    client.sendall(b"1")
    gevent.sleep(0.01)
    with gevent.Timeout(5):
        arrival.wait()
    assert server.recv(1) == b"1"


def test_only_who_is_idle_for_too_long_is_closed() -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    (silent, _), (speaking, speaker), (new, _) = pairs
    idle = Idle()
    idle.add(silent)
    idle.add(speaking)
    speaker.sendall(b"POST")
    gevent.sleep(0.05)
    idle.add(new)
    idle.close(0.05)
    assert silent.recv(1, socket.MSG_DONTWAIT) == b""
    assert speaking.recv(9, socket.MSG_DONTWAIT) == b"POST"
    for connection in speaking, new:
        with pytest.raises(BlockingIOError):
            connection.settimeout(0)
            connection.recv(1)
    for ends in pairs:
        for end in ends:
            end.close()
