"""Shadow traffic to candidates that do their worst: no client may be able to tell that it is on.

One live service is used for many faults. Its worker is replaced after each, which closes the
breaker and makes it tell its last counts.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from candidates import CANARY, FAULTS, LIVE_LIKE, Candidate, answer, is_silent, relays_to, says
from harness import Service, command_and_env, copied, free_port, serve

TIMEOUT = 0.5  # of a copy, in seconds
SETTINGS = {"SHADOW_TIMEOUT_MS": int(TIMEOUT * 1e3), "LOG_SAMPLE": 0}
GOOD = says(answer(LIVE_LIKE))


def wait_for(true: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "this did not come about in time"
        time.sleep(0.02)


def events(service: Service, kind: str) -> list[dict[str, Any]]:
    lines = [line for line in service.logged.splitlines() if f'"event":"shadow.{kind}"' in line]
    return [json.loads(line) for line in lines]


def last_counts(service: Service) -> dict[str, dict[str, Any]]:
    """Return each worker's last counts."""
    return {event["worker"]: event for event in events(service, "counts")}


def pid(counts: dict[str, Any]) -> int:
    return int(counts["worker"].split(":")[-2])


def check_laws(service: Service, counts: dict[str, Any]) -> None:
    unsent = sum(counts["skipped"].values()) + sum(counts["dropped"].values())
    assert counts["eligible"] == counts["sampled_out"] + unsent + counts["enqueued"], counts
    ended = sum(counts["verdicts"].values()) + counts["expired"] + counts["lost_at_exit"]
    assert counts["enqueued"] == ended + counts["queued"], counts
    if not counts["events_lost"]:
        pairs = [e for e in events(service, "pair") if e["worker"] == counts["worker"]]
        assert Counter(e["verdict"] for e in pairs) == counts["verdicts"]


def retired(service: Service) -> dict[str, Any]:
    """Replace the worker; return the last counts of the old one, which add up."""
    [worker] = service.workers
    os.kill(worker, signal.SIGTERM)
    wait_for(lambda: worker not in service.workers)
    service.wait_ready()
    [counts] = [c for c in last_counts(service).values() if pid(c) == worker]
    check_laws(service, counts)
    assert counts["queued"] == 0
    return counts


def resident_mb(worker: int) -> float:
    status = Path(f"/proc/{worker}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def descriptors(worker: int) -> int:
    return len(os.listdir(f"/proc/{worker}/fd"))


def predict(body: bytes, *headers: str, path: str = "/predict") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    if not any(line.startswith(("Transfer-Encoding", "Content-Length")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "X-Request-Id: same", "", ""]).encode() + body


def chunked(body: bytes) -> bytes:
    parts = [body[:7], body[7:]]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: same\r\nConnection: close\r\n\r\n"


def exchange(service: Service, sent: bytes, aborted: bool) -> bytes:
    """Return all that comes back on a connection, but for times and dates."""
    with closing(service.connect()) as connection:
        connection.sendall(sent if aborted else sent + LAST)
        if aborted:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(1 << 20):
            received += part
    received = re.sub(rb"Date: [^\r]*", b"Date: -", received)
    return re.sub(rb"dur=[0-9.]+", b"dur=-", received)


def requests_of(service: Service) -> dict[str, bytes]:
    body = service.body
    large = json.dumps({"instances": [service.instance] * 150}).encode()
    return {
        "plain": predict(body),
        "through gunicorn": predict(body, path="/predict?x=1"),
        "chunked": predict(chunked(body), "Transfer-Encoding: chunked"),
        "large": predict(large),
        "pipelined": predict(body) * 5,
        "refused": predict(b"{}"),
        "not JSON": predict(b"{" * 100),
        "broken chunk": predict(b"zz\r\n", "Transfer-Encoding: chunked"),
        "aborted": predict(body[:20], "Content-Length: 300"),
        "aborted chunk": predict(b"7\r\nabc", "Transfer-Encoding: chunked"),
        "other": b"GET /metadata HTTP/1.1\r\nHost: x\r\nX-Request-Id: same\r\n\r\n",
    }


COPIES = 9  # that these lead to


@pytest.fixture(scope="module")
def expected(live: Service) -> dict[str, bytes]:
    """What a service without shadow traffic answers."""
    sent = requests_of(live)
    found = {name: exchange(live, sent[name], "aborted" in name) for name in sent}
    assert found["pipelined"].count(b"HTTP/1.1 200 OK") == 6
    assert found["aborted"].startswith(b"HTTP/1.1 4")
    return found


def same_as(expected: dict[str, bytes], service: Service) -> None:
    for name, sent in requests_of(service).items():
        received = exchange(service, sent, "aborted" in name)
        assert received == expected[name], name
        assert CANARY not in received


@pytest.fixture(scope="module")
def candidate() -> Iterator[Candidate]:
    made = Candidate(GOOD)
    yield made
    made.close()


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shadow") / "switch"


@pytest.fixture(scope="module")
def shared(baked: Path, candidate: Candidate, switch: Path) -> Iterator[Service]:
    """A live service that copies to the candidate."""
    with serve(baked, SHADOW_URL=candidate.url, SHADOW_SWITCH_FILE=switch, **SETTINGS) as service:
        yield service


@pytest.fixture
def shadowed(shared: Service, candidate: Candidate) -> Service:
    """That service, with a worker that has not copied anything yet."""
    candidate.behave(GOOD)
    if current_pairs(shared):
        retired(shared)
    candidate.requests.clear()
    return shared


def current_pairs(service: Service) -> list[dict[str, Any]]:
    [worker] = service.workers
    return [pair for pair in events(service, "pair") if pid(pair) == worker]


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_copy_has_nothing_of_the_clients_but_the_body(
    shadowed: Service, candidate: Candidate, coding: str
) -> None:
    shadowed.post(
        gzip.compress(shadowed.body) if coding == "gzip" else shadowed.body,
        **{
            "Content-Encoding": coding,
            "Content-Type": "application/json; note=secret",
            "Authorization": "Bearer secret",
            "Cookie": "secret=1",
            "X-Api-Key": "secret",
            "X-Forwarded-For": "secret",
            "traceparent": "00-secret-01",
            "X-Datadog-Trace-Id": "1",
            "X-Request-Id": "secret",
        },
    )
    wait_for(lambda: candidate.requests)
    [request] = candidate.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == shadowed.body and b"secret" not in head
    [pair_id] = re.findall(rb"X-Shadow-Id: ([0-9a-f]{32})", head)
    wait_for(lambda: pair_id.decode() in [pair["pair_id"] for pair in events(shadowed, "pair")])
    assert head.replace(pair_id, b"-").split(b"\r\n") == [
        b"POST /predict HTTP/1.1",
        f"Host: 127.0.0.1:{candidate.port}".encode(),
        b"Content-Type: application/json",
        b"Accept: application/json",
        b"X-Shadow-Request: 1",
        b"X-Request-Timeout-Ms: %d" % SETTINGS["SHADOW_TIMEOUT_MS"],
        b"X-Shadow-Id: -",
        b"X-Request-Id: -",
        b"Content-Length: %d" % len(shadowed.body),
    ]


@pytest.mark.parametrize("name", ["down", "backlog", *FAULTS])
def test_whatever_a_candidate_does_clients_do_not_notice(
    name: str, shadowed: Service, candidate: Candidate, expected: dict[str, bytes]
) -> None:
    [worker] = shadowed.workers
    before = resident_mb(worker), descriptors(worker)
    behaviour, reason = FAULTS.get(name, (GOOD, "connect"))
    candidate.behave(behaviour)
    with ExitStack() as stack:
        if name in ("down", "backlog"):
            stack.enter_context(candidate.down())
        if name == "backlog":
            stack.enter_context(full_backlog(candidate.port))
        same_as(expected, shadowed)
        # Five fail, and the breaker opens; what waits behind them is not sent.
        opens = reason in ("connect", "timeout", "protocol", "encoded", "too_large", "5xx")
        post_until(shadowed, lambda: len(current_pairs(shadowed)) >= (5 if opens else COPIES))
    assert resident_mb(worker) < before[0] + 20
    assert descriptors(worker) <= before[1] + 6, "of copies: connections, and a thread's"
    found = current_pairs(shadowed)
    counts = retired(shadowed)
    if opens:
        assert counts["skipped"].keys() <= {"status", "breaker"}
        found = [pair for pair in found if pair["reason"] != "breaker"]
        assert len(found) >= 5
    else:
        assert counts["skipped"].keys() == {"status"}
    verdict = "mismatch" if reason is None else "candidate_error"
    assert {(pair["verdict"], pair["reason"]) for pair in found} == {(verdict, reason)}
    assert "Traceback" not in shadowed.logged


class full_backlog:
    """A listener that accepts nobody, and has as many waiting as it takes."""

    def __init__(self, port: int) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", port), backlog=0)]
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
            self._sockets.append(waiting)

    def __enter__(self) -> None:
        time.sleep(0.1)

    def __exit__(self, *_: Any) -> None:
        for one in self._sockets:
            one.close()


def burst(service: Service, number: int) -> float:
    """Send many requests on one connection; return the seconds until the last answer."""
    with closing(service.connect()) as connection:
        started = time.monotonic()
        connection.sendall(predict(service.body) * number)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < number:
            part = connection.recv(1 << 20)
            assert part, received[-500:]
            received += part
        return time.monotonic() - started


def test_copies_that_are_too_many_are_dropped_and_nothing_waits(
    shadowed: Service, candidate: Candidate, live: Service
) -> None:
    candidate.behave(is_silent)
    alone = min(burst(live, 300) for _ in range(2))
    beside = burst(shadowed, 300)
    assert beside < 3 * alone + TIMEOUT
    wait_for(lambda: len(current_pairs(shadowed)) >= 100)
    counts = retired(shadowed)
    assert counts["live_requests"] == counts["eligible"] == 300
    # Some may have been shed because the loop was late: the machine may be busy.
    assert counts["dropped"].keys() <= {"queue_full", "lag"}
    assert sum(counts["dropped"].values()) + sum(counts["skipped"].values()) > 100


def test_stopping_does_not_wait_for_copies(shadowed: Service, candidate: Candidate) -> None:
    candidate.behave(is_silent)
    burst(shadowed, 40)
    [worker] = shadowed.workers
    started = time.monotonic()
    os.kill(worker, signal.SIGTERM)
    wait_for(lambda: worker not in shadowed.workers)
    assert time.monotonic() - started < 5
    candidate.behave(GOOD)
    shadowed.wait_ready()
    [counts] = [c for c in last_counts(shadowed).values() if pid(c) == worker]
    check_laws(shadowed, counts)


def test_the_switch_stops_copies_under_load_and_starts_them_again(
    shadowed: Service, candidate: Candidate, switch: Path
) -> None:
    candidate.behave(GOOD)
    failures: list[Any] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            response = shadowed.post(shadowed.body)
            if response.status_code != 200:
                failures.append(response)
            time.sleep(0.01)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        wait_for(lambda: candidate.requests)
        switch.write_text("off")
        wait_for(lambda: '"message":"' + str(switch) + ": off" in shadowed.logged, 5)
        time.sleep(0.2)
        sent = len(candidate.requests)
        time.sleep(0.5)
        assert len(candidate.requests) == sent
        switch.write_text("100")
        wait_for(lambda: len(candidate.requests) > sent, 5)
    finally:
        stop.set()
        thread.join()
        switch.unlink()
    assert not failures
    counts = retired(shadowed)
    assert counts["skipped"]["switched_off"] > 10


def test_two_that_mirror_each_other_make_one_hop(
    baked: Path, shadowed: Service, candidate: Candidate
) -> None:
    with serve(baked, SHADOW_URL=shadowed.url, **SETTINGS) as other:
        candidate.behave(relays_to(other.port))
        asked = post_until(shadowed, lambda: len(candidate.requests) >= 10)
        back = post_until(other, lambda: len(events(other, "pair")) >= 3)
        counts = retired(other)
        assert counts["live_requests"] == back + len(candidate.requests)
        assert counts["skipped"] == {"copy": len(candidate.requests)}
        copies = counts["enqueued"]
    counts = retired(shadowed)
    assert counts["live_requests"] == asked + copies
    assert counts["skipped"] == {"copy": copies}
    assert counts["enqueued"] == len(candidate.requests)


def post_until(service: Service, true: Callable[[], bool]) -> int:
    """Send requests until a condition holds, and return how many."""
    sent = 0

    def post() -> bool:
        nonlocal sent
        assert service.post(service.body).status_code == 200
        sent += 1
        time.sleep(0.05)
        return true()

    wait_for(post)
    return sent


def test_one_that_mirrors_itself_makes_one_hop(shadowed: Service, candidate: Candidate) -> None:
    candidate.behave(relays_to(shadowed.port))
    asked = post_until(shadowed, lambda: len(current_pairs(shadowed)) >= 5)
    counts = retired(shadowed)
    copies = len(candidate.requests)
    assert (counts["live_requests"], counts["skipped"]) == (asked + copies, {"copy": copies})
    assert counts["verdicts"] == {"match": copies}


def test_a_name_that_cannot_be_resolved_harms_nobody(
    baked: Path, expected: dict[str, bytes]
) -> None:
    with serve(baked, SHADOW_URL="http://no-such-host.invalid", **SETTINGS) as service:
        same_as(expected, service)
        wait_for(lambda: len(events(service, "pair")) >= 5)
        reasons = {event["reason"] for event in events(service, "pair")}
        assert reasons <= {"connect", "timeout", "breaker"}
        retired(service)


def test_a_wrong_setting_is_one_line_and_the_service_serves(
    baked: Path, expected: dict[str, bytes]
) -> None:
    with serve(baked, SHADOW_URL="nonsense", WEB_CONCURRENCY=2) as service:
        same_as(expected, service)
        assert service.logged.count("shadow traffic is off: SHADOW_URL='nonsense'") == 1
        assert "shadow.counts" not in service.logged


SABOTAGE = """
import os
from service.shadow import comparison, copies, events, faults, guard, record

def _sabotage(name, place, attribute):
    whole = getattr(place, attribute)

    def part(*arguments, **named):
        if os.path.exists("sabotage-" + name):
            raise RuntimeError("sabotage of " + name)
        return whole(*arguments, **named)

    setattr(place, attribute, part)

class _Clock:
    from time import monotonic, process_time, time, time_ns

_sabotage("queue", copies.Queue, "put")
_sabotage("comparator", comparison.Comparator, "compare")
_sabotage("clock", _Clock, "monotonic")
guard.time = record.time = _Clock
_sabotage("events", events.Events, "write")
_sabotage("log", faults.log, "exception")
"""


def test_its_own_faults_harm_nobody(
    baked: Path, candidate: Candidate, expected: dict[str, bytes], tmp_path: Path
) -> None:
    folder = copied(baked, tmp_path)
    with (folder / "service" / "app.py").open("a") as source:
        source.write(SABOTAGE)
    candidate.behave(GOOD)
    with serve(folder, SHADOW_URL=candidate.url, **SETTINGS) as service:
        for name in ("queue", "comparator", "clock", "events", "log"):
            (folder / f"sabotage-{name}").touch()
            (folder / "sabotage-comparator").touch()
            same_as(expected, service)
            time.sleep(0.3)
            for file in folder.glob("sabotage-*"):
                file.unlink()
        worker = service.workers[0]
        same_as(expected, service)
        assert "sabotage of queue" in service.logged
        os.kill(worker, signal.SIGTERM)
        wait_for(lambda: worker not in service.workers)
        [counts] = [c for c in last_counts(service).values() if pid(c) == worker]
        unsent = sum(counts["skipped"].values()) + sum(counts["dropped"].values())
        assert counts["eligible"] == unsent + counts["enqueued"] > 50
        assert counts["enqueued"] == sum(counts["verdicts"].values()) + counts["lost_at_exit"]
        assert counts["skipped"]["fault"] and counts["verdicts"]["not_compared"]


def test_a_log_that_nobody_reads_holds_up_nobody(baked: Path, candidate: Candidate) -> None:
    candidate.behave(GOOD)
    port = free_port()
    command, env = command_and_env(port, SHADOW_URL=candidate.url, **SETTINGS)
    process = subprocess.Popen(
        command, cwd=baked, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        service = Service(baked, process, port, Path("/dev/null"))
        service.wait_ready()
        candidate.requests.clear()
        for _ in range(8):
            burst(service, 50)
            time.sleep(0.1)
        # The pipe is full by now, and a thread waits at it.
        assert len(candidate.requests) > 100
        assert burst(service, 50) < 5
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in output.splitlines() if b'"shadow.' in line]
    [*_, counts] = [line for line in lines if line["event"] == "shadow.counts"]
    pairs = sum(line["event"] == "shadow.pair" for line in lines)
    assert pairs + counts["events_lost"] >= sum(counts["verdicts"].values())


def test_workers_that_are_replaced_lose_no_count(baked: Path, candidate: Candidate) -> None:
    candidate.behave(GOOD)
    with serve(
        baked, SHADOW_URL=candidate.url, MAX_REQUESTS=15, KEEPALIVE_SECONDS=1, **SETTINGS
    ) as service:
        asked = post_until(service, lambda: len(last_counts(service)) >= 4)
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(20)
        found = last_counts(service).values()
        for counts in found:
            check_laws(service, counts)
        assert sum(counts["live_requests"] for counts in found) == asked
