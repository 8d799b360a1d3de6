"""What of live's traffic is copied, and what is left alone: share, switch, lag, breaker, queue."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.test import Client as WebClient

from service.shadow.breaker import (
    LONGEST_PAUSE_SECONDS,
    PAUSE_SECONDS,
    TRIAL_SECONDS,
    Breaker,
)
from service.shadow.client import MAX_ANSWER_BYTES
from service.shadow.copies import Pair, Queue, inference_ms
from service.shadow.events import Events
from service.shadow.guard import Guard, KillSwitch, LagGuard, sampled
from service.shadow.middleware import Admission, ShadowMiddleware
from service.shadow.record import Record
from service.shadow.settings import ShadowSettings

# --- the middleware ---


def wrapped(app: Any, **settings: Any) -> tuple[ShadowMiddleware, Admission]:
    found = ShadowSettings(**settings)
    middleware, record = ShadowMiddleware(app), Record(None, Events(), "v1", 0)
    admission = Admission(found.shadow_max_body_bytes, Guard(found), Queue(), record)
    middleware.admission = admission
    return middleware, admission


def outcomes(admission: Admission) -> dict[tuple[str, str], int]:
    return dict(admission.record._requests)


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["service.body"], environ["service.inference_seconds"] = body, 0.0025
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


@pytest.mark.parametrize("path", ["/predict", "/other"])
def test_keeps_to_wsgi_and_copies_predictions_only(path: str) -> None:
    middleware, admission = wrapped(echo)
    with WebClient(LintMiddleware(middleware)).post(path, data=b"abc") as response:
        assert (response.status_code, response.data) == (200, b"abc")
    if path == "/other":
        assert not admission.queue and not outcomes(admission)
        return
    assert outcomes(admission) == {("enqueued", "none"): 1}
    pair = admission.queue.get()
    assert (pair.body, pair.live_answer) == (b"abc", b"abc")
    live = pair.line("v1")["live"]
    assert live.pop("total_ms") > 0
    assert live == {"version": "v1", "status": 200, "inference_ms": 2.5}


def test_copies_what_the_service_answers_with_200(app: Flask) -> None:
    middleware, admission = wrapped(app.wsgi_app)
    client = WebClient(middleware)
    golden = app.extensions["engine"].manifest.golden.instances
    with client.post("/predict", json={"instances": golden[:2]}) as good:
        assert good.status_code == 200
    for body in ({}, {"instances": [{"no": "such field"}]}):
        with client.post("/predict", json=body) as refused:
            assert refused.status_code == 400
    with client.get("/predict") as other:
        assert other.status_code == 405
    assert outcomes(admission) == {("enqueued", "none"): 1, ("skipped", "status"): 2}
    pair = admission.queue.get()
    assert pair.live_answer == good.data and b"no such" not in pair.body
    assert f"inference;dur={pair.live_inference_seconds * 1e3:.3f}" in good.headers["Server-Timing"]


def test_what_is_too_large_is_served_and_not_copied() -> None:
    middleware, admission = wrapped(echo, shadow_max_body_bytes=MAX_ANSWER_BYTES + 1)
    for size in (MAX_ANSWER_BYTES + 2, MAX_ANSWER_BYTES + 1, MAX_ANSWER_BYTES):
        with WebClient(middleware).post("/predict", data=b"x" * size) as response:
            assert len(response.data) == size
    assert outcomes(admission) == {
        ("skipped", "body_too_large"): 1,
        ("skipped", "answer_too_large"): 1,
        ("enqueued", "none"): 1,
    }


def test_an_application_that_raises_does_so_as_before() -> None:
    def raising(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise KeyError("live")

    middleware, admission = wrapped(raising)
    with pytest.raises(KeyError, match="live"):
        WebClient(middleware).post("/predict", data=b"abc")
    assert not admission.queue


def test_an_answer_that_is_not_in_one_piece_passes_and_is_not_copied() -> None:
    def pieces(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return iter(echo(environ, start_response))

    middleware, admission = wrapped(pieces)
    with WebClient(middleware).post("/predict", data=b"abc") as response:
        assert response.data == b"abc"
    assert outcomes(admission) == {("skipped", "fault"): 1}


@pytest.mark.parametrize(
    ("header", "milliseconds"),
    [
        ("decode;dur=1, inference;dur=0.31, encode;dur=2", 0.31),
        ("inference;dur=7", 7.0),
        ("xinference;dur=7", None),
        ("inference;dur=nan", None),
        ("", None),
    ],
)
def test_reads_server_timing(header: str, milliseconds: float | None) -> None:
    assert inference_ms(header) == milliseconds


# --- the guard ---


def test_sampling_is_stable_even_and_nested() -> None:
    keys = [f"customer-{number}" for number in range(20_000)]
    ten = {key for key in keys if sampled(key, 10)}
    assert 0.09 < len(ten) / len(keys) < 0.11
    assert ten <= {key for key in keys if sampled(key, 20)}
    assert sorted(ten)[:3] == ["customer-10003", "customer-10007", "customer-1001"]
    assert not any(sampled(key, 0) for key in keys) and all(sampled(key, 100) for key in keys)


def test_a_share_is_chosen_by_the_key_header() -> None:
    guard = Guard(ShadowSettings(shadow_percent=10, shadow_key_header="X-Customer"))
    keys = [f"customer-{number}" for number in range(1000)]
    chosen = [key for key in keys if guard.refuses_copy({"HTTP_X_CUSTOMER": key}) is None]
    assert chosen == [key for key in keys if sampled(key, 10)]
    refusals = {guard.refuses_copy({"HTTP_X_REQUEST_ID": key}) for key in keys}
    assert refusals == {None, ("sampled_out", "percent")}


@pytest.mark.parametrize(
    ("content", "percent"),
    [
        (None, 40),
        ("", 40),
        ("off\n", 0),
        ("0", 0),
        ("12.5\n", 12.5),
        ("101", 0),
        ("nan", 0),
        ("of", 0),
        (b"\xff", 0),
    ],
)
def test_switch_follows_its_file(
    content: str | bytes | None, percent: float, tmp_path: Path
) -> None:
    file = tmp_path / "switch"
    switch = KillSwitch(40, str(file))
    assert switch.percent == 0, "nothing is copied before the file has been read"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    switch.read()
    assert switch.percent == percent
    file.write_text("7")
    switch.read()
    assert switch.percent == 7


def test_lag_guard_notices_a_late_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("service.shadow.guard.time.monotonic", lambda: clock[0])
    guard = LagGuard()
    for clock[0], lagging in ((100.0, False), (100.1, False), (100.21, False), (100.35, True)):
        guard.check()
        assert guard.lagging == lagging
    clock[0] = 101.4
    assert not guard.lagging


def test_queue_is_bounded_by_number_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.shadow.copies.MAX_WAITING", 2)
    monkeypatch.setattr("service.shadow.copies.MAX_WAITING_BYTES", 10_000)

    def pair(size: int) -> Pair:
        return Pair(b"x" * size, b"", 0.1, 0.1)

    queue = Queue()
    assert queue.put(pair(9000)) == "queue_bytes"
    assert queue.put(pair(100)) == queue.put(pair(100)) == ""
    assert queue.put(pair(0)) == "queue_full"
    assert len(queue) == 2 and 200 < queue.bytes <= 10_000
    assert [len(queue.get().body) for _ in range(2)] == [100, 100]
    assert (len(queue), queue.bytes) == (0, 0)


# --- the breaker ---


class Timeline:
    def __init__(self) -> None:
        self.now = 0.0
        self.breaker = Breaker(clock=lambda: self.now)

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.learn(failed=True)


def test_breaker_opens_tries_one_at_a_time_and_closes() -> None:
    time = Timeline()
    breaker = time.breaker
    time.fail(4)
    assert breaker.admits() and not breaker.open
    time.fail(3)  # the last two had set out before
    assert breaker.open and breaker.holds and not breaker.admits()
    time.now = PAUSE_SECONDS - 0.1
    breaker.learn(failed=False)  # had set out before, too
    assert not breaker.admits()
    time.now = PAUSE_SECONDS
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    time.now += TRIAL_SECONDS  # nothing came of the trial
    assert breaker.admits() and not breaker.holds
    breaker.learn(failed=False)
    assert not breaker.open and breaker.admits()


def test_breaker_pauses_longer_each_time() -> None:
    time = Timeline()
    time.fail(5)
    pauses = []
    for _ in range(5):
        began = time.now
        while not time.breaker.admits():
            time.now += 1
        pauses.append(time.now - began)
        time.fail(1)
    once = PAUSE_SECONDS
    assert pauses == [once, 2 * once, 4 * once, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]


def test_breaker_opens_when_most_of_the_recent_fail() -> None:
    time = Timeline()
    for _ in range(6):
        time.fail(2)
        time.breaker.learn(failed=False)
    assert not time.breaker.open
    time.fail(4)
    assert time.breaker.open
