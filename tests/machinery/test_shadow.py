"""Shadow traffic as a whole, in one process: what it records, what it loses, when it is off."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import pytest
from answering import OK, says, serving
from werkzeug.test import Client as WebClient

import toy
from service.app import create_app
from service.artifact import read_manifest
from service.log_writer import LogWriter
from service.settings import Settings
from service.shadow import Shadow, shadow
from service.shadow.candidate import Candidate
from service.shadow.events import Events
from service.shadow.middleware import ShadowMiddleware
from service.shadow.settings import ShadowSettings

# --- events ---


def test_events_that_nobody_reads_are_lost_and_counted() -> None:
    reader, writer = os.pipe()
    events = Events(LogWriter(writer))
    for number in range(5000):
        events.write("", "", {"number": number, "text": "x" * 1000})
    assert events.lost > 500
    with os.fdopen(reader, "rb") as stream:
        lines = [json.loads(stream.readline()) for _ in range(50)]
    assert [line["number"] for line in lines] == list(range(50))


def test_no_event_is_longer_than_a_pipe_takes_whole(tmp_path: Path) -> None:
    file = tmp_path / "events"
    writer = LogWriter(os.open(file, os.O_WRONLY | os.O_CREAT))
    events = Events(writer)
    for text in ("x", "é", "\x01"):  # of which JSON makes 1, 2 and 6 bytes
        fields = [{"path": text * 100, "live": text * 100, "candidate": text * 100}] * 20
        deltas = {f"f{i}": [0.123456789] * 20 for i in range(30)}
        flips = [[text * 100] * 2 + [1]] * 50
        events.write("", "", {"fields": fields, "deltas": deltas, "flips": flips})
    writer.flush()
    lines = file.read_bytes().splitlines(keepends=True)
    assert [len(json.loads(line)["fields"]) for line in lines] == [5, 1, 1]
    assert max(map(len, lines)) <= 4096 and events.lost == 0


# --- all together ---


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Stand in for service.predict."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["service.body"], environ["service.inference_seconds"] = body, 0.001
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


class Running:
    """A live service and its shadow traffic, whose events go to a file."""

    def __init__(self, shadow: Shadow, events: Path, writer: LogWriter) -> None:
        self.shadow = shadow
        self.client = WebClient(shadow.wrap(echo))
        self.file = events
        self.writer = writer

    def start(self, metrics: Any = None) -> None:
        def wait_until_idle(seconds: float) -> bool:
            gevent.idle()
            return True

        self.shadow.start(metrics, 0, wait_until_idle)

    def ask(self, times: int, body: bytes = b"abc") -> None:
        for _ in range(times):
            with self.client.post("/predict", data=body) as response:
                assert (response.status_code, response.data) == (200, body)

    def settle(self) -> None:
        """Wait until every copy has ended."""
        with gevent.Timeout(10):
            while self.shadow._left:
                gevent.sleep(0.01)

    def counts(self) -> dict[str, Any]:
        """Stop, and return the last counts, having checked that they add up."""
        self.shadow.stop()
        self.writer.flush()
        events = [json.loads(line) for line in self.file.read_text().splitlines()]
        found: dict[str, Any] = [e for e in events if e["event"] == "shadow.counts"][-1]
        unsent = sum(found["skipped"].values()) + sum(found["dropped"].values())
        assert found["eligible"] == found["sampled_out"] + unsent + found["enqueued"]
        ended = sum(found["verdicts"].values()) + found["expired"] + found["lost_at_exit"]
        assert found["enqueued"] == ended
        assert sum(e["event"] == "shadow.pair" for e in events) == sum(found["verdicts"].values())
        return found


@pytest.fixture
def running(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Running]]:
    file = tmp_path / "events"
    writer = LogWriter(os.open(file, os.O_WRONLY | os.O_CREAT))
    monkeypatch.setattr("service.shadow.Events", lambda: Events(writer))
    with ExitStack() as stack:

        def make(talk: Callable[[Any], None] | None = None, **settings: Any) -> Running:
            url = f"http://127.0.0.1:{stack.enter_context(serving(talk or says(OK)))}"
            made = Shadow(ShadowSettings(shadow_url=url, **settings), read_manifest(trained))
            stack.callback(made.stop)
            return Running(made, file, writer)

        yield make


def test_counts_what_became_of_every_request(running: Callable[..., Running]) -> None:
    live = running(shadow_max_body_bytes=3)
    live.start()
    live.ask(20)
    live.ask(2, b"abcd")
    with live.client.post("/predict", data=b"abc", headers={"X-Shadow-Id": "1"}):
        pass
    live.settle()
    found = live.counts()
    assert found["live_requests"] == found["eligible"] == 23
    assert found["skipped"] == {"body_too_large": 2, "copy": 1}
    assert found["verdicts"] == {"not_compared": 20}  # what it was asked is no JSON


def test_a_full_queue_drops_and_what_is_left_at_the_end_is_lost(
    running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.shadow.copies.MAX_WAITING", 5)
    live = running()
    live.start()
    live.ask(20)  # no greenlet gets a turn meanwhile
    found = live.counts()
    assert (found["dropped"], found["lost_at_exit"]) == ({"queue_full": 15}, 5)


def test_ends_while_answers_are_waited_for(
    running: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    live = running(says(b"HTTP/1.1 200 OK"))
    live.start()
    live.ask(6)
    gevent.sleep(0.05)
    assert live.counts()["lost_at_exit"] == 6
    gevent.sleep(0.05)
    assert not caplog.messages


def test_goes_on_when_what_was_too_much_is_done(
    running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("copies", "sender"):
        monkeypatch.setattr(f"service.shadow.{place}.MAX_WAITING", 1)
    live = running()
    live.start()
    for _ in range(3):
        live.ask(1)
        gevent.sleep(0.02)  # it is answered, and not yet judged
        live.ask(1)  # and dropped, if this machine was too slow to take the one before
        live.settle()
    found = live.counts()
    assert found["enqueued"] == sum(found["verdicts"].values()) >= 3


def test_copies_that_waited_too_long_are_not_sent(
    running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.shadow.sender.MAX_AGE_SECONDS", -1)
    live = running()
    live.start()
    live.ask(3)
    live.settle()
    found = live.counts()
    assert (found["expired"], found["verdicts"]) == (3, {})


def test_a_second_answer_is_never_taken_for_another_copy_s(
    running: Callable[..., Running],
) -> None:
    second_answers = 0

    def talk(connection: Any) -> None:
        """Answer as live does, and once more a moment later."""
        nonlocal second_answers
        while received := connection.recv(65536):
            head, _, body = received.partition(b"\r\n\r\n")
            [request_id] = re.findall(rb"X-Request-Id: ([0-9a-f]{32})", head)
            length = b"Content-Length: %d\r\nX-Request-Id: %b" % (len(body), request_id)
            for _ in range(2):
                connection.sendall(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (length, body))
                gevent.sleep(0.002)
            second_answers += 1

    live = running(talk)
    live.start()
    for number in range(100):
        live.ask(1, b'{"predictions":[%d]}' % number)
        gevent.sleep(0.001)
    gevent.sleep(0.3)
    verdicts = live.counts()["verdicts"]
    assert "mismatch" not in verdicts and verdicts["match"] > 10 and second_answers > 10


def test_metrics_that_fail_change_no_answer_and_no_sum(running: Callable[..., Running]) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            raise OSError(name)

    live = running()
    live.start(Failing())
    live.ask(9)
    gevent.sleep(0.2)
    assert live.counts()["eligible"] == 9


# --- settings ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHADOW_URL", "candidate:8000"),
        ("SHADOW_URL", "https://candidate"),
        ("SHADOW_URL", "http://user:secret@candidate"),
        ("SHADOW_URL", "http://candidate:99999"),
        ("SHADOW_URL", "http://candidate/a b"),
        ("SHADOW_URL", "http://candidate/?q=1"),
        ("SHADOW_URL", "http://localhost:8000"),
        ("SHADOW_PERCENT", "101"),
        ("SHADOW_PERCENT", "nan"),
        ("SHADOW_ROLE", "primary"),
    ],
)
def test_a_wrong_setting_switches_it_off_with_one_line(
    name: str,
    value: str,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SHADOW_URL", "http://candidate:8000")
    monkeypatch.setenv(name, value)
    assert shadow(read_manifest(trained), Settings()) is None
    [line] = caplog.messages
    assert line.startswith(f"shadow traffic is off: {name}")


def test_wrong_rules_switch_it_off_with_one_line(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHADOW_URL", "http://candidate:8000")
    monkeypatch.chdir(tmp_path)
    Path("shadow-rules.toml").write_text("[fields.score]\nabsolute = 'much'")
    assert shadow(read_manifest(trained), Settings()) is None
    [line] = caplog.messages
    assert line.startswith("shadow traffic is off: shadow-rules.toml: ")


def test_what_is_no_longer_a_setting_is_named(
    trained: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHADOW_URL", "http://candidate:8000")
    monkeypatch.setenv("SHADOW_ROUTES", "/predict")
    assert isinstance(shadow(read_manifest(trained), Settings()), Shadow)
    assert caplog.messages == ["SHADOW_ROUTES is no longer a setting: it has no effect"]


def test_it_is_not_in_the_way_unless_it_is_wanted(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(artifact_dir=trained)
    assert "shadow" not in create_app(settings, toy.predict).extensions
    monkeypatch.setenv("SHADOW_URL", "http://candidate:8000")
    assert isinstance(create_app(settings, toy.predict).wsgi_app, ShadowMiddleware)
    # A candidate counts what it is sent, and copies nothing on.
    monkeypatch.setenv("SHADOW_ROLE", "candidate")
    candidate = create_app(settings, toy.predict)
    assert isinstance(candidate.extensions["shadow"], Candidate)
    assert not isinstance(candidate.wsgi_app, ShadowMiddleware)
