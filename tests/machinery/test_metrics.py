from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import metrics
from service.metrics import Metrics, tag


@pytest.fixture
def agent() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        yield listener


def connect(agent: socket.socket) -> Metrics:
    url = "udp://{}:{}".format(*agent.getsockname())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DD_DOGSTATSD_URL", url)
        found = metrics.connect()
    assert found is not None
    return found


def test_values_go_out_together_and_counts_as_sums(agent: socket.socket) -> None:
    to = connect(agent)
    to.count("inference.shed", 1, "reason:wait")
    to.count("inference.shed", 2, "reason:wait")
    to.gauge("worker.rss", 5, "worker:0")
    to.gauge("worker.rss", 7, "worker:0")
    for value in (0.001, 2.5):
        to.observe("inference.latency", value, "route:/predict", "outcome:ok")
    to.stop()
    lines = agent.recv(65536).decode().split()
    assert [re.sub(r"\|(c|e):\S*$", "", line) for line in lines] == [
        "inference.shed:3|c|#reason:wait",
        "worker.rss:7|g|#worker:0",
        "inference.latency:0.001:2.5|d|#route:/predict,outcome:ok",
    ]


def test_many_values_take_several_lines_that_fit_their_datagrams(agent: socket.socket) -> None:
    to = connect(agent)
    for number in range(1000):
        to.observe("model.value", number / 7, "field:score")
    to.stop()
    values = 0
    while values < 1000:
        datagram = agent.recv(65536)
        assert len(datagram) <= 1432
        for line in datagram.decode().split():
            values += len(line.split("|")[0].split(":")) - 1
    assert values == 1000


def test_what_nobody_takes_is_bounded(agent: socket.socket) -> None:
    to = connect(agent)
    for _ in range(2 * metrics.MOST_VALUES):
        to.observe("model.value", 0.5, "field:score")
    assert len(to._values["model.value", "field:score"]) == metrics.MOST_VALUES
    to.stop()


@given(st.text())
def test_no_value_breaks_out_of_its_tag(value: str) -> None:
    assert re.fullmatch(r"class:[\w\-./]{1,100}", tag("class", value))


def test_names_in_other_scripts_stay_apart() -> None:
    assert tag("class", "злокачественная") != tag("class", "доброкачественная")


def test_without_an_agent_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SOCKET", "/nonexistent")
    assert metrics.connect({}) is None
