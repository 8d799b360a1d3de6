"""Clients that stall, flood, hang up or never read: they cost their connection and nobody else."""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from harness import Service, serve

from loadtests.running import allow_files

KEEPALIVE = 2
BODY_TIMEOUT = 1.0
SEND_TIMEOUT = 2.0
NOISE = 1.5  # seconds that a busy machine may be late by
# Seconds that nobody else's request may take, whatever the attack. They take 10 to 50 ms, or whole
# seconds where a defence is missing; a busy neighbour of the machine may add some.
CALM = 0.25
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture(scope="module")
def victim(baked: Path) -> Iterator[Service]:
    # One that handles descriptors by thousands needs as many itself.
    allow_files()
    limits = {
        "KEEPALIVE_SECONDS": KEEPALIVE,
        "BODY_TIMEOUT_SECONDS": BODY_TIMEOUT,
        "SEND_TIMEOUT_SECONDS": SEND_TIMEOUT,
    }
    with serve(baked, **limits) as service:
        service.predict([service.instance])
        yield service


@pytest.fixture(autouse=True)
def leaves_nothing_behind(victim: Service) -> Iterator[None]:
    """After an attack the worker is the same, its descriptors are back, and its log is quiet."""
    (worker,) = victim.workers
    wait_for(lambda: connections(victim) == 0, KEEPALIVE + NOISE)
    files, logged = descriptors(worker), len(victim.logged)
    yield
    wait_for(lambda: descriptors(worker) <= files, KEEPALIVE + 2 * SEND_TIMEOUT + NOISE)
    assert victim.workers == [worker]
    assert "Traceback" not in victim.logged[logged:], victim.logged[logged:]
    assert victim.predict([victim.instance])


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def connections(service: Service) -> int:
    """How many sockets the worker has besides those it always has: the accepted ones."""
    (worker,) = service.workers
    found = Path(f"/proc/{worker}/net/tcp").read_text().splitlines()[1:]
    # Local address and state: 01 is established, 08 is closed by the client, not yet by us.
    ours = f"0100007F:{service.port:04X}"
    return sum(line.split()[1] == ours and line.split()[3] in ("01", "08") for line in found)


def wait_for(true: Callable[[], bool], seconds: float) -> float:
    """Wait until a condition holds, and return how long that took; fail after `seconds`."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, "this did not come about in time"
        time.sleep(0.02)
    return time.monotonic() - started


class Others(threading.Thread):
    """A client that asks again and again on a connection it keeps, and a probe on new ones."""

    def __init__(self, service: Service, accepted: set[int]) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.accepted = accepted
        self.answers: list[float] = []
        self.probes: list[float] = []
        self.stopping = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            kept = self.connection()
            while not self.stopping.wait(0.01):
                headers = {"Content-Type": "application/json"}
                self.answers.append(
                    timed(kept, "POST", "/predict", self.service.body, headers, self.accepted)
                )
                probe = self.connection()
                self.probes.append(timed(probe, "GET", "/healthz"))
                probe.close()
            kept.close()
        except Exception as error:
            self.failure = error

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=10)


def timed(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    accepted: set[int] | None = None,
) -> float:
    started = time.perf_counter()
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    response.read()
    assert response.status in (accepted or {200})
    return time.perf_counter() - started


@contextmanager
def undisturbed(service: Service, within: float = CALM, busy: bool = False) -> Iterator[None]:
    """While the attack runs in this context, others are answered as ever.

    `within`: seconds that their predictions may take; `busy`: some may be refused.
    """
    others = Others(service, {200, 503} if busy else {200})
    others.start()
    time.sleep(0.2)
    try:
        yield
        # A brief attack may be over before it has been felt.
        wait_for(lambda: len(others.answers) > 60 or not others.is_alive(), 10)
    finally:
        others.stopping.set()
        others.join(10)
    assert others.failure is None, others.failure
    answers, probes = sorted(others.answers), sorted(others.probes)
    p99 = answers[len(answers) * 99 // 100]
    print(
        f"{len(answers)} others: p50 {answers[len(answers) // 2] * 1e3:.1f} ms, "
        f"p99 {p99 * 1e3:.1f} ms; slowest /healthz {probes[-1] * 1e3:.1f} ms"
    )
    assert p99 < within and probes[-1] < CALM


@contextmanager
def connected(service: Service, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(service.connect()) for _ in range(count)]


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = ["POST /predict HTTP/1.1", "Host: test", "Content-Type: application/json", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked_head() -> bytes:
    return post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")


def answer(connection: socket.socket) -> tuple[http.client.HTTPResponse, bytes]:
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    return response, response.read()


def all_received(connection: socket.socket) -> bytes:
    """Read until the service closes the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def trickle(attackers: list[socket.socket], seconds: float) -> tuple[bytes, dict[float, int]]:
    """Send a byte a second on each connection until the service has closed them all.

    Returns what one of them received, and after how many seconds how many were closed.
    """
    started = next_byte = time.monotonic()
    poll = select.poll()
    by_descriptor = {connection.fileno(): connection for connection in attackers}
    for connection in attackers:
        poll.register(connection, select.POLLIN)
    received: dict[int, bytes] = {descriptor: b"" for descriptor in by_descriptor}
    closed: dict[float, int] = {}
    while by_descriptor:
        now = time.monotonic()
        assert now - started < seconds, f"{len(by_descriptor)} connections are still open"
        if now >= next_byte:
            for connection in by_descriptor.values():
                try:
                    connection.send(b"x")
                except OSError:
                    pass  # noticed below
            next_byte += 1
        for descriptor, _ in poll.poll(50):
            try:
                data = by_descriptor[descriptor].recv(65536)
            except ConnectionResetError:
                data = b""
            received[descriptor] += data
            if not data:
                poll.unregister(descriptor)
                del by_descriptor[descriptor]
                after = round(time.monotonic() - started, 1)
                closed[after] = closed.get(after, 0) + 1
    assert len(set(map(len, received.values()))) == 1
    return next(iter(received.values())), closed


def test_headers_that_trickle_are_cut_off(victim: Service) -> None:
    with undisturbed(victim), connected(victim, 200) as attackers:
        for connection in attackers:
            connection.sendall(b"POST /predict HTTP/1.1\r\nX-Slow: ")
        received, closed = trickle(attackers, BODY_TIMEOUT + NOISE)
    assert received == b""
    assert BODY_TIMEOUT * 0.8 < min(closed), closed


def test_bodies_that_trickle_get_a_408_and_are_cut_off(victim: Service) -> None:
    with undisturbed(victim), connected(victim, 200) as attackers:
        for connection in attackers:
            connection.sendall(post(b"{", length=100_000))
        # What is left of the body is waited for as long as for another request's headers.
        received, closed = trickle(attackers, 2 * BODY_TIMEOUT + NOISE)
    assert received.startswith(b"HTTP/1.1 408 ") and received.count(b"HTTP/1.1") == 1
    assert BODY_TIMEOUT * 0.8 < min(closed), closed


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_rest_of_a_late_body_is_no_request(victim: Service, framing: str) -> None:
    # Who sends a body that looks like a request gets no answer to it, however late it comes.
    inner = HEALTH.replace(b"/healthz", b"/metadata")
    if framing == "length":
        start, rest = post(b"{", length=1 + len(inner)), inner
    else:
        start, rest = chunked_head() + b"%x\r\n{" % (1 + len(inner)), inner + b"\r\n0\r\n\r\n"
    with victim.connect() as connection:
        connection.sendall(start)
        assert answer(connection)[0].status == 408
        try:
            connection.sendall(rest + HEALTH)
        except OSError:
            pass  # closed, which is fine
        received = all_received(connection)
    assert b"golden" not in received and b"inputs" not in received
    assert received.count(b"HTTP/1.1 ") <= 1


def test_half_closed_connections_are_answered_and_end(victim: Service) -> None:
    with undisturbed(victim), connected(victim, 100) as attackers:
        started = time.monotonic()
        for connection in attackers:
            connection.sendall(post(victim.body))
            connection.shutdown(socket.SHUT_WR)
        ends = [all_received(connection) for connection in attackers]
        assert time.monotonic() - started < KEEPALIVE
    assert all(end.startswith(b"HTTP/1.1 200 ") for end in ends)


def test_connections_reset_in_every_state(victim: Service) -> None:
    request = post(victim.body)
    # A body cut short, headers cut short, a whole request, and more behind it.
    sent = [request[:-5], request[:30], request, request * 3, b""]
    with undisturbed(victim):
        for _ in range(40):
            for content in sent:
                connection = victim.connect()
                connection.sendall(content)
                # Close by RST.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()


def test_2000_idle_connections_keep_nobody_out(victim: Service) -> None:
    with undisturbed(victim), ExitStack() as stack:
        idle: list[socket.socket] = []
        while len(idle) < 2000:
            # Not all at once: it is not their coming that is tried here. Half have been used, the
            # other half never say a word.
            few = [stack.enter_context(victim.connect()) for _ in range(20)]
            for connection in few[::2]:
                connection.sendall(HEALTH)
            for connection in few[::2]:
                assert answer(connection)[0].status == 200
            idle += few
        last = time.monotonic()
        assert connections(victim) >= 2000
        with victim.connect() as further:
            further.sendall(post(victim.body))
            assert answer(further)[0].status == 200
            assert time.monotonic() - last < CALM
        assert not any(connection.recv(1) for connection in idle)
        assert time.monotonic() - last < KEEPALIVE + NOISE


# What is sent again and again, as fast as it is taken, behind what.
FLOODS = {
    "body": (post(b"", length=10**12), b" " * 2**20),
    "chunks": (chunked_head(), (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 8),
    "tiny chunks": (chunked_head(), b"1\r\n \r\n" * 100_000),
    "probes": (b"", HEALTH * 1000),
    "mistakes": (b"", post(b"{") * 1000),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_on_one_connection_takes_nobody_elses_turn(victim: Service, kind: str) -> None:
    head, content = FLOODS[kind]
    with undisturbed(victim), victim.connect() as connection:
        # The answers are read, or their sender would have to wait.
        reader = threading.Thread(target=all_received, args=[connection], daemon=True)
        reader.start()
        connection.sendall(head)
        end = time.monotonic() + 1.5
        try:
            while time.monotonic() < end:
                connection.sendall(content)
        except OSError:
            pass  # refused and cut off
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        reader.join(10)


def test_pipelined_requests_are_answered_in_order(victim: Service) -> None:
    names = [f"request-{i}" for i in range(50)]
    with undisturbed(victim), victim.connect() as connection:
        connection.sendall(b"".join(post(victim.body, f"X-Request-Id: {n}") for n in names))
        for name in names:
            response, body = answer_of_many(connection)
            assert response[b"x-request-id"] == name.encode()
            assert len(json.loads(body)["predictions"]) == 1


def answer_of_many(connection: socket.socket) -> tuple[dict[bytes, bytes], bytes]:
    """Read one answer and nothing beyond it, as http.client's buffer would."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK", head
    headers = dict(line.lower().split(b": ", 1) for line in lines[1:-2])
    body = b""
    while len(body) < int(headers[b"content-length"]):
        body += connection.recv(int(headers[b"content-length"]) - len(body))
    return headers, body


def test_garbage_behind_a_body_hurts_only_itself(victim: Service) -> None:
    with undisturbed(victim):
        for garbage in [b"\0" * 1000, b"garbage\r\n\r\n", b"\r\n\r\n{}\r\n\r\n", b"x" * 100_000]:
            with victim.connect() as connection:
                connection.sendall(post(victim.body) + garbage)
                assert answer(connection)[0].status == 200
                # Then gunicorn's 400, or nothing, and the end.
                assert b" 200 OK" not in all_received(connection)


def test_requests_that_are_refused_do_not_fill_the_log(victim: Service) -> None:
    before = len(victim.logged.splitlines())
    started = time.monotonic()
    with connected(victim, 1000) as attackers:
        for connection in attackers:
            connection.sendall(b"GET / HTTP/1.1\r\nX-Bad: \0" + b"x" * 7000 + b"\r\n\r\n")
        assert all(answer(connection)[0].status == 400 for connection in attackers)
    seconds = time.monotonic() - started
    lines = victim.logged.splitlines()[before:]
    # 100 a second (service/logs.py), those of the seconds in which it began and ended included.
    assert 0 < len(lines) < 100 * (seconds + 2)
    assert max(map(len, lines)) < 500


def rows(service: Service, count: int) -> bytes:
    instances = [list(service.instance.values())] * count
    return post(json.dumps({"instances": instances}).encode())


def most_unread(service: Service) -> int:
    """The most bytes that the service's kernel holds for a client."""
    (worker,) = service.workers
    found = Path(f"/proc/{worker}/net/tcp").read_text().splitlines()[1:]
    ours = f"0100007F:{service.port:04X}"
    return max(int(line.split()[4][:8], 16) for line in found if line.split()[1] == ours)


@pytest.mark.parametrize("reads", [False, True])
def test_floods_of_large_requests_leave_others_their_turn(victim: Service, reads: bool) -> None:
    request = rows(victim, 900)
    with undisturbed(victim, within=1, busy=True), connected(victim, 100) as attackers:
        sent = dict.fromkeys((connection.fileno() for connection in attackers), 0)
        by_descriptor = {connection.fileno(): connection for connection in attackers}
        poll = select.poll()
        for connection in attackers:
            connection.setblocking(False)
            poll.register(connection, select.POLLOUT | (select.POLLIN if reads else 0))
        end, most = time.monotonic() + 1.5 * SEND_TIMEOUT, 0
        while time.monotonic() < end and by_descriptor:
            for descriptor, event in poll.poll(100):
                connection = by_descriptor[descriptor]
                try:
                    if event & select.POLLIN:
                        connection.recv(2**20)
                    if event & select.POLLOUT:
                        position = sent[descriptor] % len(request)
                        sent[descriptor] += connection.send(request[position:])
                except BlockingIOError:
                    pass
                except OSError:  # dropped for not reading
                    poll.unregister(descriptor)
                    del by_descriptor[descriptor]
            most = max(most, most_unread(victim))
    print(f"{most / 1e3:.0f} kB unread at most")
    assert most < 300_000


@pytest.mark.parametrize("count", [250, 900])
def test_reader_may_be_slow_as_long_as_it_reads(victim: Service, count: int) -> None:
    # Of few rows it is a plain request, of many it is left to gunicorn.
    requests = rows(victim, count) * (10_000 // count)
    with undisturbed(victim), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.connect(("127.0.0.1", victim.port))
        # The service takes no more requests than it can answer.
        sender = threading.Thread(target=connection.sendall, args=[requests], daemon=True)
        sender.start()
        received, end = bytearray(), time.monotonic() + 3 * max(KEEPALIVE, SEND_TIMEOUT)
        while time.monotonic() < end:
            received += connection.recv(6000)
            time.sleep(0.1)
        while received.count(b"HTTP/1.1 200 OK") < 10_000 // count:
            assert (more := connection.recv(65536)), "the connection was closed"
            received += more


def test_client_that_never_reads_is_dropped_after_send_timeout(victim: Service) -> None:
    request = rows(victim, 1000)
    give_up = SEND_TIMEOUT + NOISE
    with undisturbed(victim), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", victim.port))
        connection.settimeout(give_up)
        sent = 0
        moved = time.monotonic()
        # Ask until the answers have filled all buffers in between: then nothing more is taken from
        # us either, until the connection breaks.
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while sent < 1000 * len(request):
                sent += connection.send(request[sent % len(request) :])
                moved = time.monotonic()
        took = time.monotonic() - moved
    print(f"sent {sent / 1e6:.0f} MB, dropped {took:.1f} s after the last byte moved")
    assert took < give_up
