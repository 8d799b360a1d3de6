"""Ghost mode, part by part: what it takes, what it sends, what it says, and what it never does."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.server import StreamServer
from gevent.threadpool import ThreadPool
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.test import Client as WebClient

import toy
from service.app import create_app
from service.artifact import Output, Outputs, read_manifest
from service.errors import Refusal
from service.settings import Settings
from service.shadow import Shadow, shadow
from service.shadow.admission import Governor, Rate, Switch, sampled
from service.shadow.breaker import LONGEST_PAUSE, PAUSE, TRIAL_SECONDS, Breaker
from service.shadow.candidate import Candidate
from service.shadow.client import Answer, Client, Failed
from service.shadow.comparison import Comparator, NotJson, read_rules
from service.shadow.copies import Copy, Queue
from service.shadow.middleware import ShadowMiddleware, Tee
from service.shadow.record import Events, Pair, inference_ms
from service.shadow.settings import ShadowSettings, Target

# --- the tee ---

calls = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.sampled_from([(), (-1,), (0,), (1,), (3,), (100,)])),
        st.tuples(st.just("readline"), st.sampled_from([(), (-1,), (0,), (2,), (100,)])),
        st.tuples(st.just("readlines"), st.sampled_from([(), (1,), (100,)])),
        st.tuples(st.just("iterate"), st.sampled_from([(1,), (100,)])),
        st.tuples(st.just("readinto"), st.sampled_from([(2,)])),
    ),
    max_size=8,
)


def perform(stream: Any, name: str, arguments: tuple[int, ...]) -> Any:
    if name == "iterate":
        return [line for line, _ in zip(stream, range(arguments[0]), strict=False)]
    if name == "readinto":
        return stream.readinto(bytearray(arguments[0]))
    return getattr(stream, name)(*arguments)


@example(b"abcd", "", 30, [("readinto", (2,)), ("read", ())])
@given(
    st.lists(st.sampled_from([b"a", b"bc", b"\n", b""]), max_size=12).map(b"".join),
    st.sampled_from(["", "true", "more", "less", "0", "-1", "x", "²"]),
    st.integers(0, 30),
    calls,
)
def test_tee_changes_nothing_and_keeps_the_whole_body_or_none(
    body: bytes, length: str, limit: int, sequence: list[tuple[str, tuple[int, ...]]]
) -> None:
    known = {"true": len(body), "more": len(body) + 1, "less": max(0, len(body) - 1)}
    plain, tee = io.BytesIO(body), Tee(io.BytesIO(body), str(known.get(length, length)), limit)
    for name, arguments in sequence:
        assert perform(tee, name, arguments) == perform(plain, name, arguments)
    assert sum(map(len, tee._parts)) <= limit
    kept = tee.whole()
    if length in ("true", ""):
        assert kept in (body, None)
    if length == "true" and limit >= len(body) and sequence[:1] == [("read", ())]:
        assert kept == body or any(name == "readinto" for name, _ in sequence)


def test_tee_fails_as_the_stream_does_and_keeps_no_copy() -> None:
    class Broken(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise ConnectionResetError

    tee = Tee(Broken(), "5", 100)
    with pytest.raises(ConnectionResetError):
        tee.read(10)
    assert tee.whole() is None


# --- the middleware ---


class Kept:
    """An admission that keeps copies."""

    def __init__(self) -> None:
        self.copies: list[Copy] = []
        self.refusals: list[tuple[str, ...]] = []

    def admits(self, environ: dict[str, Any]) -> bool:
        return True

    def settle(self, copy: Callable[[], Copy]) -> None:
        try:
            self.copies.append(copy())
        except Exception as error:
            self.refusals.append(error.args)


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    timing = [("Server-Timing", "queue;dur=9.0, inference;dur=2.5"), ("X-Model-Version", "v1")]
    start_response("200 OK", [("Content-Type", "text/plain"), *timing])
    return [body[:2], body[2:]]


def wrapped(app: Any, **settings: Any) -> tuple[ShadowMiddleware, Kept]:
    middleware, kept = ShadowMiddleware(app, ShadowSettings(**settings)), Kept()
    middleware.admission = kept  # type: ignore[assignment]
    return middleware, kept


@pytest.mark.parametrize("path", ["/predict", "/other"])
def test_keeps_to_wsgi_on_both_sides(path: str) -> None:
    middleware, kept = wrapped(LintMiddleware(echo), shadow_headers="X-Tenant")
    client = WebClient(LintMiddleware(middleware))
    secrets = {"Authorization": "Bearer x", "Cookie": "a=b", "traceparent": "00-1-1-01"}
    headers = {"X-Tenant": "t", "Accept": "*/*", "Content-Type": "text/plain"} | secrets
    response = client.post(path, data=b"abc", headers=headers)
    assert (response.status_code, response.data) == (200, b"abc")
    response.close()
    if path == "/other":
        assert not kept.copies and not kept.refusals
        return
    [copy] = kept.copies
    assert (copy.route, copy.body, copy.answer) == ("/predict", b"abc", b"abc")
    assert copy.values == ["text/plain", "*/*", "t"]
    live = Pair(copy).live
    assert (live["version"], live["inference_ms"]) == ("v1", 2.5)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"shadow_max_body_bytes": 2}, ("skipped", "body_too_large")),
        ({"shadow_max_answer_bytes": 2}, ("skipped", "answer_too_large")),
    ],
)
def test_what_is_too_large_is_served_and_not_copied(
    settings: dict[str, Any], reason: tuple[str, ...]
) -> None:
    middleware, kept = wrapped(echo, **settings)
    with WebClient(middleware).post("/predict", data=b"abc") as response:
        assert response.data == b"abc"
    assert (kept.copies, kept.refusals) == ([], [reason])


def refusing(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("400 Bad Request", [("Content-Type", "text/plain")])
    return [b"no"]


def not_reading(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"yes"]


def writing(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    environ["wsgi.input"].read(3)
    start_response("200 OK", [("Content-Type", "text/plain")])(b"by hand")
    return []


@pytest.mark.parametrize(
    ("app", "reason", "answer"),
    [
        (refusing, "status", b"no"),
        (not_reading, "incomplete", b"yes"),
        (writing, "status", b"by hand"),
    ],
)
def test_copies_only_whole_requests_that_succeeded(app: Any, reason: str, answer: bytes) -> None:
    middleware, kept = wrapped(app)
    with WebClient(middleware).post("/predict", data=b"abc") as response:
        assert response.data == answer
    assert (kept.copies, kept.refusals) == ([], [("skipped", reason)])


def test_an_application_that_raises_does_so_as_before() -> None:
    def raising(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise KeyError("live")

    middleware, kept = wrapped(raising)
    with pytest.raises(KeyError, match="live"):
        WebClient(middleware).post("/predict", data=b"abc")
    assert kept.refusals == [("skipped", "status")]


def test_an_answer_given_up_halfway_is_closed_and_not_copied() -> None:
    closed = []

    class Chunks(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(3)
        start_response("200 OK", [])
        return Chunks([b"a", b"b"])

    middleware, kept = wrapped(app)
    environ = {"PATH_INFO": "/predict", "REQUEST_METHOD": "POST", "CONTENT_LENGTH": "3"}
    chunks = middleware(environ | {"wsgi.input": io.BytesIO(b"abc")}, lambda *_: None)
    assert next(iter(chunks)) == b"a"
    chunks.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert kept.refusals == [("skipped", "incomplete")]


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


# --- admission ---


def test_sampling_is_stable_even_and_nested() -> None:
    keys = [f"customer-{number}" for number in range(20_000)]
    ten = {key for key in keys if sampled(key, 10)}
    assert 0.09 < len(ten) / len(keys) < 0.11
    assert ten <= {key for key in keys if sampled(key, 20)}
    assert sorted(ten)[:3] == ["customer-10003", "customer-10007", "customer-1001"]
    assert not any(sampled(key, 0) for key in keys) and all(sampled(key, 100) for key in keys)


def test_rate_allows_so_many_a_second() -> None:
    now = 0.0
    rate = Rate(10, clock=lambda: now)
    assert sum(rate.allows() for _ in range(100)) == 10
    now = 0.5
    assert sum(rate.allows() for _ in range(100)) == 5
    now = 60
    assert sum(rate.allows() for _ in range(100)) == 10
    assert all(Rate(0).allows() for _ in range(100))


@pytest.mark.parametrize(
    ("content", "off", "percent"),
    [
        (None, False, 40),
        ("", False, 40),
        ("off\n", True, 0),
        ("0", False, 0),
        ("12.5\n", False, 12.5),
        ("101", True, 0),
        ("nan", True, 0),
        ("of", True, 0),
        (b"\xff", True, 0),
    ],
)
def test_switch_follows_its_file(
    content: str | bytes | None, off: bool, percent: float, tmp_path: Path
) -> None:
    file = tmp_path / "switch"
    switch = Switch(40, str(file))
    assert switch.off, "nothing is copied before the file has been read"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    switch.look()
    assert (switch.off, switch.percent) == (off, percent)
    file.write_text("7")
    switch.look()
    assert (switch.off, switch.percent) == (False, 7)


def test_governor_notices_a_late_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("service.shadow.admission.time.monotonic", lambda: clock[0])
    governor = Governor()
    for clock[0], lagging in ((100.0, False), (100.1, False), (100.21, False), (100.35, True)):
        governor.look()
        assert governor.lagging == lagging
    clock[0] = 101.4
    assert not governor.lagging


def test_queue_is_bounded_by_number_and_by_bytes() -> None:
    def copy(size: int) -> Copy:
        return Copy("/predict", [], b"x" * size, 200, [], b"", 0.1)

    queue = Queue(2, 10_000)
    assert queue.put(copy(9000)) == "queue_bytes"
    assert queue.put(copy(100)) == queue.put(copy(100)) == ""
    assert queue.put(copy(0)) == queue.full == "queue_full"
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
            self.breaker.failed()


def test_breaker_opens_tries_one_at_a_time_and_closes() -> None:
    time = Timeline()
    breaker = time.breaker
    time.fail(4)
    assert breaker.admits() and not breaker.open
    time.fail(3)  # the last two had set out before
    assert breaker.open and breaker.holds and not breaker.admits()
    time.now = PAUSE - 0.1
    breaker.succeeded()  # had set out before, too
    assert not breaker.admits()
    time.now = PAUSE
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    time.now += TRIAL_SECONDS  # nothing came of the trial
    assert breaker.admits() and not breaker.holds
    breaker.succeeded()
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
    assert pauses == [PAUSE, 2 * PAUSE, 4 * PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_breaker_opens_when_most_of_the_recent_fail() -> None:
    time = Timeline()
    for _ in range(6):
        time.fail(2)
        time.breaker.succeeded()
    assert not time.breaker.open
    time.fail(4)
    assert time.breaker.open


# --- comparison ---

OUTPUTS = Outputs(
    kind="classification",
    classes=["a", "b"],
    fields=[Output(name="label", type="string"), Output(name="score", type="float")],
)
RULES = """
[fields.score]
absolute = 0.01
[fields.note]
ignore = true
[fields.count]
absolute = 2
"""


def rows(*answers: Any) -> bytes:
    return json.dumps({"predictions": list(answers)}).encode()


@pytest.fixture
def comparator(tmp_path: Path) -> Comparator:
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    return Comparator(OUTPUTS, read_rules(file), pause=lambda: None)


ONE = {"label": "a", "score": 0.5}


@pytest.mark.parametrize(
    ("live", "candidate", "verdict", "paths"),
    [
        (rows(ONE), rows(ONE), "match", []),
        (rows(ONE), rows(ONE).replace(b" ", b""), "match", []),
        (rows(ONE), rows(ONE | {"score": 0.509}), "within_tolerance", []),
        (rows(ONE), rows(ONE | {"score": 0.511}), "mismatch", ["predictions[0].score"]),
        (rows(ONE), rows(ONE | {"label": "b"}), "mismatch", ["predictions[0].label"]),
        (rows(ONE), rows(ONE | {"score": None}), "mismatch", ["predictions[0].score"]),
        (rows(ONE), rows(ONE | {"score": "0.5"}), "mismatch", ["predictions[0].score"]),
        (rows(ONE), rows({"label": "a"}), "mismatch", ["predictions[0].score"]),
        (rows(ONE), rows(ONE | {"more": 1}), "mismatch", ["predictions[0].more"]),
        (rows(ONE), rows(ONE | {"note": 1}), "within_tolerance", []),
        (rows(ONE), rows(ONE, ONE), "mismatch", ["predictions"]),
        (rows(ONE), rows(), "mismatch", ["predictions"]),
        (rows(ONE), b"[]", "mismatch", ["$"]),
        (rows(ONE), b"null", "mismatch", ["$"]),
        (rows({"flag": True}), rows({"flag": 1}), "mismatch", ["predictions[0].flag"]),
        (rows({"n": 1}), rows({"n": 1.0}), "within_tolerance", []),
        (rows({"n": 10**9}), rows({"n": 10**9 + 1}), "mismatch", ["predictions[0].n"]),
        (rows({"n": 1e9}), rows({"n": 1e9 + 1}), "within_tolerance", []),
        (rows({"n": 1}), rows({"n": 10**400}), "mismatch", ["predictions[0].n"]),
        (rows({"count": 5}), rows({"count": 7}), "within_tolerance", []),
        (rows({"count": 5}), rows({"count": 8}), "mismatch", ["predictions[0].count"]),
        (rows({"p": [1, 2]}), rows({"p": [1, 3]}), "mismatch", ["predictions[0].p[1]"]),
        (rows(0.5), rows(0.5 + 1e-9), "within_tolerance", []),
        (b"7", b"8", "mismatch", ["$"]),
    ],
)
def test_compares(
    comparator: Comparator, live: bytes, candidate: bytes, verdict: str, paths: list[str]
) -> None:
    found = comparator.compare(live, candidate)
    assert (found.verdict, [item["path"] for item in found.fields]) == (verdict, paths)


def test_comparison_tells_what_it_found_within_limits(comparator: Comparator) -> None:
    live = [{"label": "a", "score": 0.25}] * 150
    candidate = [{"label": "b", "score": 0.75}] * 30 + [{"label": "a", "score": 0.25}] * 120
    found = comparator.compare(rows(*live), rows(*candidate))
    assert found.rows == 150
    assert sorted(found.flips or []) == [("a", "a", 120), ("a", "b", 30)]
    assert found.deltas == {"score": [0.5] * 20}
    assert len(found.fields) == 20
    assert found.fields[0] == {"path": "predictions[0].label", "live": "a", "candidate": "b"}


@pytest.mark.parametrize("text", [b"", b"not json", b"[" * 100_000, b'{"a": NaN}', b"\xff"])
def test_what_is_no_json_is_the_candidates_error_or_nobodys(
    comparator: Comparator, text: bytes
) -> None:
    with pytest.raises(NotJson):
        comparator.compare(rows(ONE), text)
    with pytest.raises(ValueError):
        comparator.compare(text, rows(ONE))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(json_values, json_values)
def test_any_two_answers_can_be_compared(one: Any, other: Any) -> None:
    comparator = Comparator(OUTPUTS, {}, pause=lambda: None)
    texts = [json.dumps(value, allow_nan=True).encode() for value in (one, other)]
    if any(b"Infinity" in text for text in texts):
        return
    found = comparator.compare(*texts)
    assert found.verdict == comparator.compare(*texts[::-1]).verdict
    assert comparator.compare(texts[0], texts[0]).verdict == "match"
    assert (found.verdict == "mismatch") == bool(found.fields)


# --- the client ---

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"


@pytest.fixture
def answering() -> Iterator[Callable[..., Client]]:
    """Makes a client of a server that says the given pieces to each request."""
    made: list[tuple[StreamServer, Client]] = []

    def make(*pieces: bytes, wait: float = 0.0) -> Client:
        def talk(connection: Any, _: Any) -> None:
            with suppress(OSError):  # a client that gives up
                while connection.recv(65536):
                    for piece in pieces:
                        connection.sendall(piece)
                        gevent.sleep(wait)
                    if pieces[-1:] == (b"",):
                        return

        server = StreamServer(("127.0.0.1", 0), talk)
        server.start()
        target = Target("127.0.0.1", int(server.address[1]), "")
        made.append((server, Client(target, 0.5, 1000, ThreadPool(1))))
        return made[-1][1]

    yield make
    for server, client in made:
        client.close()
        server.stop(timeout=0.1)


REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


def answer_of(client: Client, request: bytes = REQUEST) -> Answer:
    client.ask(request)
    while (answer := client.look()) is None:
        event = Event()
        due = client.watch(event.set)
        event.wait(max(0.0, due - time.monotonic()))
        client.unwatch()
    return answer


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"garbage\r\n\r\n"], "protocol"),
        ([b""], "protocol"),
        ([b"HTTP/1.1 200 OK\r\n", b""], "protocol"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", b""], "protocol"),
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
        ([b"x" * 100_000], "protocol"),
        ([OK.replace(b"200 OK\r\n", b"200 OK\r\nContent-Encoding: gzip\r\n")], "encoded"),
        ([BIG], "too_large"),
        ([], "timeout"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"], "timeout"),
    ],
)
def test_client_takes_nothing_but_plain_answers(
    answering: Callable[..., Client], pieces: list[bytes], reason: str
) -> None:
    client = answering(*pieces)
    with pytest.raises(Failed, match=f"^{reason}$"):
        answer_of(client)


def test_client_reads_answers_that_come_in_pieces(answering: Callable[..., Client]) -> None:
    client = answering(OK[:9], OK[9:30], OK[30:-1], OK[-1:], wait=0.001)
    for _ in range(3):
        answer = answer_of(client)
        assert (answer.status, answer.body) == (200, b"ok")


def test_an_answer_that_came_in_time_may_be_looked_at_later(
    answering: Callable[..., Client],
) -> None:
    client = answering(OK)
    client.ask(REQUEST)
    gevent.sleep(0.6)
    answer = client.look()
    assert answer and answer.body == b"ok"


def test_client_gives_up_an_answer_that_drips(answering: Callable[..., Client]) -> None:
    client = answering(*(OK[i : i + 1] for i in range(len(OK))), wait=0.05)
    with pytest.raises(Failed, match="^timeout$"):
        answer_of(client)


def test_client_never_takes_one_answer_for_another(answering: Callable[..., Client]) -> None:
    other = OK.replace(b"ok", b"no")
    client = answering(OK + other)
    for _ in range(3):
        assert answer_of(client).body == b"ok"


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_client_finds_nobody(host: str) -> None:
    client = Client(Target(host, 9, ""), 1.0, 1000, ThreadPool(1))
    with pytest.raises(Failed, match="^(connect|timeout)$"):
        answer_of(client)


# --- the record ---


def test_events_that_nobody_reads_are_lost_and_not_waited_for() -> None:
    reader, writer = os.pipe()
    events = Events(writer)
    for number in range(5000):
        events.write({"number": number, "text": "x" * 1000})
        if number % 100 == 0:
            gevent.spawn(events.flush)
            gevent.sleep(0)
    assert events.lost > 1000
    with os.fdopen(reader, "rb") as stream:
        lines = [json.loads(stream.readline()) for _ in range(50)]
    assert [line["number"] for line in lines] == list(range(50))
    gevent.sleep(0.05)  # the writing thread meets the closed pipe
    os.close(writer)


def test_no_event_is_longer_than_a_pipe_takes_whole(tmp_path: Path) -> None:
    file = tmp_path / "events"
    events = Events(os.open(file, os.O_WRONLY | os.O_CREAT))
    for text in ("x", "é", "\x01"):  # of which JSON makes 1, 2 and 6 bytes
        fields = [{"path": text * 100, "live": text * 100, "candidate": text * 100}] * 20
        deltas = {f"f{i}": [0.123456789] * 20 for i in range(30)}
        events.write({"fields": fields, "deltas": deltas, "flips": [[text * 100] * 2 + [1]] * 50})
    events.flush()
    lines = file.read_bytes().splitlines(keepends=True)
    assert [len(json.loads(line)["fields"]) for line in lines] == [5, 1, 1]
    assert max(map(len, lines)) <= 4096 and events.lost == 0


# --- all together ---


class Failing:
    """Metrics, or a queue, of which every method fails."""

    full = ""
    bytes = 0

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any) -> None:
            raise OSError(name)

        return fail

    def __len__(self) -> int:
        return 0


class Running:
    """The toy's application with ghost mode, whose events go to a file."""

    def __init__(self, shadow: Shadow, app: Any, events: Path) -> None:
        self.shadow = shadow
        self.client = WebClient(shadow.wrap(app))
        self.file = events

    def start(self, metrics: Any = None) -> None:
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT)
        self.shadow.start(metrics, descriptor=descriptor)

    def ask(self, times: int) -> None:
        for _ in range(times):
            with self.client.post("/predict", data=b"abc") as response:
                assert (response.status_code, response.data) == (200, b"abc")

    def counts(self) -> dict[str, Any]:
        """Stop, and return the last counts, having checked that they add up."""
        self.shadow.stop()
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
    answering: Callable[..., Client], trained: Path, tmp_path: Path
) -> Callable[..., Running]:
    def make(answer: bytes = OK, **settings: Any) -> Running:
        port = answering(answer)._target.port
        url = f"http://127.0.0.1:{port}"
        ghost = Shadow(ShadowSettings(shadow_url=url, **settings), read_manifest(trained), {})
        return Running(ghost, echo, tmp_path / "events")

    return make


def test_counts_what_became_of_every_request(running: Callable[..., Running]) -> None:
    ghost = running(shadow_max_rps=10)
    ghost.start()
    ghost.ask(20)
    with ghost.client.post("/predict", data=b"abc", headers={"X-Shadow-Id": "1"}):
        pass
    gevent.sleep(0.2)
    found = ghost.counts()
    assert found["live_requests"] == found["eligible"] == 21
    assert found["skipped"] == {"rate": 10, "copy": 1}
    assert found["verdicts"] == {"not_compared": 10}  # what it was asked is no JSON


def test_a_full_queue_drops_and_what_is_left_at_the_end_is_lost(
    running: Callable[..., Running],
) -> None:
    ghost = running(shadow_queue=5)
    ghost.start()
    ghost.ask(20)  # no greenlet gets a turn meanwhile
    found = ghost.counts()
    assert (found["dropped"], found["lost_at_exit"]) == ({"queue_full": 15}, 5)


def test_ends_while_answers_are_waited_for(
    running: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    ghost = running(b"HTTP/1.1 200 OK")
    ghost.start()
    ghost.ask(6)
    gevent.sleep(0.05)
    assert ghost.counts()["lost_at_exit"] == 6
    gevent.sleep(0.05)
    assert not caplog.messages


def test_goes_on_when_what_was_too_much_is_done(running: Callable[..., Running]) -> None:
    ghost = running(shadow_queue=1)
    ghost.start()
    for _ in range(3):
        ghost.ask(1)
        gevent.sleep(0.02)  # it is answered, and not yet judged
        ghost.ask(1)
        gevent.sleep(0.3)
    found = ghost.counts()
    assert sum(found["verdicts"].values()) == 6


def test_copies_that_waited_too_long_are_not_sent(
    running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.shadow.sender.MAX_AGE", -1)
    ghost = running()
    ghost.start()
    ghost.ask(3)
    gevent.sleep(0.1)
    found = ghost.counts()
    assert (found["expired"], found["verdicts"]) == (3, {})


@pytest.mark.parametrize("what", ["metrics", "queue", "comparator", "clock", "logging"])
def test_faults_of_its_own_change_no_answer_and_no_sum(
    running: Callable[..., Running], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost = running(shadow_max_rps=0)
    fail = Failing().anything
    if what == "comparator":
        monkeypatch.setattr(ghost.shadow._comparator, "compare", fail)
    ghost.start(Failing() if what == "metrics" else None)
    if what == "queue":
        monkeypatch.setattr(ghost.shadow._queue, "put", fail)
    if what == "logging":
        monkeypatch.setattr("service.shadow.record.log.exception", fail)
        monkeypatch.setattr(ghost.shadow._comparator, "compare", fail)
    with monkeypatch.context() as patch:
        if what == "clock":
            patch.setattr("service.shadow.admission.time", Failing())
            patch.setattr("service.shadow.sender.time", Failing())
        ghost.ask(9)
        gevent.sleep(0.2)
    found = ghost.counts()
    assert found["eligible"] == 9


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
        ("SHADOW_ROUTES", "predict"),
        ("SHADOW_ROUTES", "/predict,/healthz"),
        ("SHADOW_HEADERS", "Authorization"),
        ("SHADOW_HEADERS", "X-Tenant, Cookie"),
        ("SHADOW_HEADERS", "X-Goog-IAP-JWT-Assertion: x"),
        ("SHADOW_HEADERS", "X_Tenant"),
        ("SHADOW_RULES", "no/such/file.toml"),
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
    assert line.startswith(f"ghost mode is off: {name}")


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


@pytest.mark.parametrize(
    "text", ["[fields.score]\nabsolut = 1", "[fields.score]\nabsolute = 'x'", "[[", "[other]"]
)
def test_refuses_rules_that_it_does_not_understand(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(text)
    with pytest.raises(Refusal, match="SHADOW_RULES"):
        read_rules(file)
