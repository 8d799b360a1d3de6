"""A share of the users, with candidates that do their worst: callers notice nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests
from candidates import (
    CANARY,
    FAULTS,
    Behaviour,
    Candidate,
    Connection,
    answer,
    is_silent,
    relays_to,
)
from harness import Service, copied, edit, manifest, serve, start_refused, train

BUDGET = 0.3  # seconds
SETTINGS = {
    "AB_KEY_HEADER": "X-Customer",
    "AB_BUDGET_MS": int(BUDGET * 1e3),
    "SHADOW_PERCENT": 0,
    "LOG_SAMPLE": 0,
    "LOG_FORMAT": "json",
}
BODIES: dict[str, Any] = {"not JSON": b"{" * 9, "no instances": {}, "field": {"instances": [{}]}}


def wait_for(true: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "this did not come about in time"
        time.sleep(0.02)


def events(service: Service, kind: str) -> list[dict[str, Any]]:
    lines = [line for line in service.logged.splitlines() if f'"event":"ab.{kind}"' in line]
    return [json.loads(line) for line in lines]


def ask(service: Service, key: str, body: Any = None) -> requests.Response:
    return service.post(service.body if body is None else body, **{"X-Customer": key})


def echoes(body: bytes, status: str = "200 OK", version: str = "CANARY-1") -> Behaviour:
    """Answer as a candidate does, but for what it says."""

    def behave(connection: Connection) -> None:
        while request := connection.receive():
            [sent] = re.findall(r"X-Request-Id: (\S+)", request.decode("latin-1"))
            headers = [f"X-Request-Id: {sent}", f"X-Model-Version: {version}"]
            connection.send(answer(body, status, *headers))

    return behave


def waits(seconds: float, then: Behaviour) -> Behaviour:
    def behave(connection: Connection) -> None:
        time.sleep(seconds)
        then(connection)

    return behave


def said(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"predictions": rows}).encode()


GOOD_ROW = {"label": "CANARY", "score": 0.5}
OWN_FAULTS: dict[str, tuple[Behaviour, str]] = {
    "overloaded": (echoes(CANARY, "503 Service Unavailable"), "5xx"),
    "refuses": (echoes(CANARY, "400 Bad Request"), "4xx"),
    "not JSON": (echoes(CANARY), "not_json"),
    "not UTF-8": (echoes(b'{"predictions":[{"label":"\xff","score":1}]}'), "not_json"),
    "too few": (echoes(said()), "shape"),
    "too many": (echoes(said(GOOD_ROW, GOOD_ROW)), "shape"),
    "other fields": (echoes(said({"CANARY": 1})), "shape"),
    "other types": (echoes(said({"label": 1, "score": "CANARY"})), "shape"),
    "null": (echoes(said({"label": "CANARY", "score": None})), "shape"),
    "no version": (echoes(said(GOOD_ROW), version=""), "protocol"),
    "slow": (waits(2 * BUDGET, echoes(said(GOOD_ROW))), "timeout"),
}
# Without an echo of the request's id an answer might be another caller's.
SHADOWS = {name: (how, why or "protocol") for name, (how, why) in FAULTS.items()}
SHADOWS |= dict.fromkeys(["no JSON", "deep JSON"], (FAULTS["no JSON"][0], "protocol"))
SHADOWS |= {name: (FAULTS[name][0], "protocol") for name in ("error", "not found")}
MATRIX = SHADOWS | {f"its own: {name}": fault for name, fault in OWN_FAULTS.items()}


@pytest.fixture(scope="module")
def candidate() -> Iterator[Candidate]:
    made = Candidate(is_silent)
    yield made
    made.close()


@pytest.fixture(scope="module")
def other(baked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A real candidate: another model."""
    folder = copied(baked, tmp_path_factory.mktemp("other"))
    edit(folder / "model.py", "(max_iter=1000", "(C=0.1, max_iter=1000")
    assert train(folder).returncode == 0
    with serve(folder, SHADOW_ROLE="candidate") as service:
        yield service


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ab") / "switch"


@pytest.fixture(scope="module")
def shared(baked: Path, candidate: Candidate, switch: Path) -> Iterator[Service]:
    """A live service whose users are all the candidate's."""
    more = {"AB_PERCENT": 100, "AB_SWITCH_FILE": switch, "SHADOW_URL": candidate.url}
    with serve(baked, **SETTINGS, **more) as service:
        yield service


@pytest.fixture
def fresh(shared: Service) -> Service:
    """That service, with a worker whose breaker is closed."""
    [worker] = shared.workers
    os.kill(worker, signal.SIGTERM)
    wait_for(lambda: worker not in shared.workers)
    shared.wait_ready()
    return shared


def of_worker(service: Service) -> list[dict[str, Any]]:
    [worker] = service.workers
    return [e for e in events(service, "answer") if f":{worker}:" in e["worker"]]


def version(folder: Path) -> str:
    found: str = manifest(folder)["version"]
    return found


def test_the_candidates_answer_is_returned_as_it_is(
    fresh: Service, candidate: Candidate, other: Service
) -> None:
    candidate.behave(relays_to(other.port))
    candidate.requests.clear()
    theirs = other.predict([fresh.instance])
    assert theirs != fresh.predict([fresh.instance])  # without a key, live answers
    response = fresh.post(
        fresh.body,
        **{
            "X-Customer": "secret",
            "Authorization": "secret",
            "Cookie": "x=1",
            "X-Request-Id": "mine",
        },
    )
    assert (response.status_code, response.json()["predictions"]) == (200, theirs)
    assert response.headers["X-Model-Version"] == version(other.folder)
    assert response.headers["X-Request-Id"] == "mine"
    assert response.headers["Server-Timing"].startswith("candidate;dur=")
    [request] = candidate.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == fresh.body and b"secret" not in head and b"Cookie" not in head
    assert re.search(rb"X-Request-Id: mine-[0-9a-f]{32}\r\n", head)
    wait_for(lambda: of_worker(fresh))
    [event] = of_worker(fresh)
    assert "secret" not in json.dumps(event)
    assert (event["group"], event["arm"], event["fallback"]) == ("candidate", "candidate", None)
    assert (event["version"], event["status"]) == (version(other.folder), 200)
    assert event["duration_ms"] >= event["candidate_ms"] > 0


@pytest.mark.parametrize("name", ["down", *MATRIX])
def test_whatever_a_candidate_does_callers_get_lives_answer(
    name: str, fresh: Service, candidate: Candidate, live: Service
) -> None:
    behaviour, reason = MATRIX.get(name, (is_silent, "connect"))
    candidate.behave(behaviour)
    expected = live.predict([live.instance])
    mistakes = {body: live.post(content).status_code for body, content in BODIES.items()}
    with ExitStack() as stack:
        if name == "down":
            stack.enter_context(candidate.down())
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda i: ask(fresh, f"customer {i}"), range(12)))
        for body, content in BODIES.items():
            assert ask(fresh, "customer", content).status_code == mistakes[body] == 400
    for response in answers:
        assert (response.status_code, response.json()["predictions"]) == (200, expected)
        assert response.headers["X-Model-Version"] == version(live.folder)
        assert CANARY not in response.content and response.elapsed.total_seconds() < BUDGET + 2
    wait_for(lambda: len(of_worker(fresh)) == 15)
    found = of_worker(fresh)
    assert {e["arm"] for e in found} == {"live"}
    # A caller's mistakes are no fallbacks; after five failures the breaker spares the candidate.
    reasons = [e["fallback"] for e in found if e["status"] == 200]
    assert set(reasons) <= {reason, "breaker"} and reasons.count(reason) >= 5
    assert {e["fallback"] for e in found if e["status"] == 400} == {None}
    assert "Traceback" not in fresh.logged


def test_a_short_deadline_leaves_live_its_half(fresh: Service, candidate: Candidate) -> None:
    candidate.behave(is_silent)
    headers = {"X-Customer": "a", "X-Request-Timeout-Ms": "200"}
    started = time.monotonic()
    assert fresh.post(fresh.body, **headers).status_code == 200
    assert 0.1 <= time.monotonic() - started < 0.2 + 0.1


def test_a_candidate_that_is_killed_under_load_costs_no_answer(
    baked: Path, other: Service, live: Service
) -> None:
    with serve(other.folder, SHADOW_ROLE="candidate") as mortal:
        more = {"AB_PERCENT": 50, "SHADOW_URL": mortal.url, "WEB_CONCURRENCY": 2}
        with serve(baked, **SETTINGS, **more) as service, ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, service, f"customer {i}") for i in range(600)]
            wait_for(lambda: sum(one.done() for one in asked) > 200)
            for pid in [mortal.process.pid, *mortal.workers]:
                os.kill(pid, signal.SIGKILL)
            answers = [one.result() for one in asked]
            assert {one.status_code for one in answers} == {200}
            seen = {one.headers["X-Model-Version"] for one in answers}
            assert seen == {version(live.folder), version(other.folder)}
            wait_for(lambda: len(events(service, "answer")) == 600)
            late = [e["fallback"] for e in events(service, "answer") if e["fallback"]]
            assert late and set(late) <= {"connect", "protocol", "timeout", "breaker"}


def test_the_switch_takes_the_users_back_and_gives_them_again(
    fresh: Service, candidate: Candidate, other: Service, switch: Path
) -> None:
    candidate.behave(relays_to(other.port))

    def who() -> str:
        response = ask(fresh, "customer")
        assert response.status_code == 200
        return response.headers["X-Model-Version"]

    assert who() == version(other.folder)
    switch.write_text("off")
    try:
        wait_for(lambda: who() == version(fresh.folder), 5)
        switch.write_text("100")
        wait_for(lambda: who() == version(other.folder), 5)
    finally:
        switch.unlink()


KEYS = [f"customer-{i}" for i in range(10_000)]


def sides(service: Service, keys: list[str]) -> dict[str, str]:
    """Return who answers each key, by the version, over several connections and so workers."""

    def some(part: list[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for start in range(0, len(part), 50):
            asked = part[start : start + 50]
            with closing(service.connect()) as connection:
                connection.sendall(b"".join(predict(service.body, key) for key in asked))
                received = b""
                while received.count(b'"predictions"') < len(asked) or received[-1:] != b"}":
                    received += connection.recv(1 << 20)
                assert received.count(b"HTTP/1.1 200 OK") == len(asked)
                versions = re.findall(rb"X-Model-Version: (\S+)", received)
                found |= dict(zip(asked, map(bytes.decode, versions), strict=True))
        return found

    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(some, [keys[i::8] for i in range(8)])
    return {key: side for part in parts for key, side in part.items()}


def predict(body: bytes, key: str) -> bytes:
    head = ["POST /predict HTTP/1.1", "Host: x", "Content-Type: application/json"]
    head += [f"X-Customer: {key}", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def test_a_key_has_one_side_over_workers_restarts_and_percentages(
    baked: Path, other: Service, tmp_path: Path
) -> None:
    """10,000 keys, asked three times: 5 %, once more after a restart, and 20 %."""
    switch = tmp_path / "switch"
    switch.write_text("5")
    # The machine may be busy: a budget that is never too short.
    more = {"AB_PERCENT": 1, "AB_SWITCH_FILE": switch, "SHADOW_URL": other.url}
    settings = SETTINGS | more | {"WEB_CONCURRENCY": 2, "AB_BUDGET_MS": 10_000}
    theirs = version(other.folder)
    with serve(baked, **settings) as service:
        service.lines('"event":"ab.counts"', 2)  # of both workers, which start in turn
        first = {key for key, side in sides(service, KEYS).items() if side == theirs}
        workers = {e["worker"] for e in events(service, "answer") if e["arm"] == "candidate"}
        assert len(workers) == 2
    with serve(baked, **settings) as service:
        assert {key for key, side in sides(service, KEYS).items() if side == theirs} == first
        switch.write_text("20")
        time.sleep(3)
        more_keys = {key for key, side in sides(service, KEYS).items() if side == theirs}
        found = events(service, "answer")
    assert abs(len(first) - 500) < 100 and abs(len(more_keys) - 2000) < 200
    assert first < more_keys
    # Of live's users, only as many as the candidate has are logged.
    control = {e["key"] for e in found if e["group"] == "control"}
    assert abs(len(control) - 2000) < 200
    assert not control & {e["key"] for e in found if e["group"] == "candidate"}
    assert not [e for e in found if e["fallback"]]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"AB_PERCENT": 5}, "AB_PERCENT=5 needs AB_KEY_HEADER"),
        (
            {"AB_PERCENT": 101, "AB_KEY_HEADER": "X-C"},
            "AB_PERCENT='101': expected between 0 and 100",
        ),
        (
            {"AB_PERCENT": 5, "AB_KEY_HEADER": "X C"},
            "AB_KEY_HEADER='X C': expected a header's name",
        ),
        (
            {"AB_PERCENT": 5, "AB_KEY_HEADER": "X-C", "SHADOW_URL": "nonsense"},
            "SHADOW_URL='nonsense'",
        ),
    ],
)
def test_a_wrong_setting_is_refused(baked: Path, settings: dict[str, Any], words: str) -> None:
    assert words in start_refused(baked, **settings)


def test_without_a_candidate_live_answers_all(baked: Path) -> None:
    with serve(baked, AB_PERCENT=100, **SETTINGS) as service:
        assert ask(service, "customer").headers["X-Model-Version"] == version(baked)
        assert "AB_PERCENT=100, and no SHADOW_URL: live answers all" in service.logged


def test_shadow_traffic_copies_what_live_answers_and_no_more(baked: Path, other: Service) -> None:
    more = {"AB_PERCENT": 100, "SHADOW_URL": other.url, "SHADOW_PERCENT": 100}
    with serve(baked, **SETTINGS | more) as service:
        for key in ("customer", ""):
            assert ask(service, key).status_code == 200
        service.lines('"event":"shadow.pair"')
        [worker] = service.workers
        os.kill(worker, signal.SIGTERM)
        wait_for(lambda: worker not in service.workers)
        lines = [json.loads(line) for line in service.lines('"event":"shadow.counts"')]
        [*_, counts] = [line for line in lines if f":{worker}:" in line["worker"]]
        assert counts["skipped"] == {"candidate": 1} and counts["enqueued"] == 1
