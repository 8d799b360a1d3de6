"""Stopping, crashing and slow models, with real signals: who gets an answer, and when."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests
from harness import Service, copied, serve, vouched, wrapped

HEADERS = {"Content-Type": "application/json"}

# The system's own sleep, which blocks its thread as a model's native code does; gevent's would not.
SLEEP = 'from gevent.monkey import get_original; get_original("time", "sleep")'


class Client(threading.Thread):
    """Sends request after request on a connection that it keeps; counts how they ended."""

    def __init__(self, service: Service, reconnects: bool = False) -> None:
        super().__init__(daemon=True)
        self.port, self.body, self.reconnects = service.port, service.body, reconnects
        self.answered = 0
        self.lost: list[float] = []  # when
        self.wrong: list[int] = []  # statuses
        self.stopping = threading.Event()
        self.connection = self.connect()

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.connect()
        return connection

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self.connection.request("POST", "/predict", self.body, HEADERS)
                response = self.connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                self.lost.append(time.monotonic())
                if not self.reconnects:
                    return
                self.connection.close()
                self.connection = self.connect()
                continue
            if response.status == 200:
                self.answered += 1
            else:
                self.wrong.append(response.status)
            if response.getheader("Connection") == "close":
                return


@contextmanager
def load(service: Service, clients: int, reconnects: bool = False) -> Iterator[list[Client]]:
    """Yield clients that all have been answered at least once and go on."""
    found = [Client(service, reconnects) for _ in range(clients)]
    for client in found:
        client.start()
    deadline = time.monotonic() + 30
    while not all(client.answered for client in found) and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield found
    finally:
        for client in found:
            client.stopping.set()
        for client in found:
            client.join(30)
            client.connection.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_loses_nothing(baked: Path, tmp_path: Path, workers: int) -> None:
    # Slow enough that at any moment most clients wait for an answer.
    folder = wrapped(baked, tmp_path, f"{SLEEP}(0.3)")
    with (
        serve(folder, WEB_CONCURRENCY=workers, GRACEFUL_TIMEOUT_SECONDS=10) as service,
        load(service, 24) as clients,
    ):
        started = time.monotonic()
        service.process.terminate()
        assert service.process.wait(20) == 0
        assert time.monotonic() - started < 10
        for client in clients:
            client.join(5)
        assert sum(len(client.lost) for client in clients) == 0
        assert not any(client.wrong for client in clients)


def test_sigterm_under_quick_load_loses_nothing(baked: Path) -> None:
    with serve(baked) as service, load(service, 24) as clients:
        time.sleep(0.5)
        service.process.terminate()
        assert service.process.wait(20) == 0
        for client in clients:
            client.join(5)
        assert sum(client.answered for client in clients) > 100
        assert sum(len(client.lost) for client in clients) == 0
        assert not any(client.wrong for client in clients)


def test_idle_service_stops_at_once(baked: Path) -> None:
    with serve(baked) as service:
        started = time.monotonic()
        service.process.terminate()
        assert service.process.wait(10) == 0
        assert time.monotonic() - started < 3


def test_request_that_outlives_graceful_timeout_does_not_keep_it(
    baked: Path, tmp_path: Path
) -> None:
    folder = copied(baked, tmp_path)
    with (folder / "model.py").open("a") as source:
        # Quick to warm up, then stuck.
        source.write(
            "\n_predict = predict\n\n"
            "def predict(model: Any, frame: pd.DataFrame) -> Any:\n"
            "    import os\n"
            f"    {SLEEP}(60 if os.path.exists('stuck') else 0)\n"
            "    return _predict(model, frame)\n"
        )
    vouched(folder)
    with serve(folder, GRACEFUL_TIMEOUT_SECONDS=2) as service:
        (folder / "stuck").touch()
        with closing(service.connect()) as connection:
            head = (
                f"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Length: {len(service.body)}\r\n"
            )
            head += "Content-Type: application/json\r\n\r\n"
            connection.sendall(head.encode() + service.body)
            time.sleep(0.3)
            started = time.monotonic()
            service.process.terminate()
            service.process.wait(10)
            assert time.monotonic() - started < 5


def test_drain_serves_on_while_not_ready(baked: Path) -> None:
    with serve(baked, DRAIN_SECONDS=3, WEB_CONCURRENCY=2) as service, load(service, 4) as clients:
        started = time.monotonic()
        service.process.terminate()
        time.sleep(0.5)
        while time.monotonic() - started < 2.5:
            # Each on a connection of its own, as probes and load balancers make them.
            assert requests.get(f"{service.url}/readyz", timeout=5).status_code == 503
            assert requests.get(f"{service.url}/healthz", timeout=5).status_code == 200
            assert service.post(service.body).status_code == 200
            time.sleep(0.2)
        assert service.process.wait(20) == 0
        assert time.monotonic() - started > 2.9
        assert not any(client.lost or client.wrong for client in clients)


def test_killed_worker_is_replaced_and_takes_nobody_along(baked: Path) -> None:
    with (
        serve(baked, WEB_CONCURRENCY=2) as service,
        load(service, 16, reconnects=True) as clients,
    ):
        victim = service.wait_workers(2)[0]
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        time.sleep(2)
        answered = sum(client.answered for client in clients)
        time.sleep(0.5)
        assert sum(client.answered for client in clients) > answered
        assert victim not in service.wait_workers(2)
        for client in clients:
            # Only what was in flight there, at that moment.
            assert len(client.lost) <= 1 and not client.wrong
            assert all(moment - killed < 0.5 for moment in client.lost)


def test_new_worker_serves_within_two_seconds(baked: Path) -> None:
    with serve(baked, WEB_CONCURRENCY=2) as service:
        killed, frozen = service.wait_workers(2)
        # With the other one frozen, only a new worker can answer.
        os.kill(frozen, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        started = time.monotonic()
        assert service.post(service.body).status_code == 200
        took = time.monotonic() - started
        os.kill(frozen, signal.SIGCONT)
        print(f"a new worker serves {took:.2f} s after the kill")
        assert took < 2


def probe(service: Service) -> float:
    """Return the seconds that /healthz took, on a connection of its own as kubelet makes it."""
    time.sleep(0.02)
    started = time.perf_counter()
    with closing(http.client.HTTPConnection("127.0.0.1", service.port)) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
    return time.perf_counter() - started


BUSY = "import time; end = time.perf_counter() + 0.5\n    while time.perf_counter() < end: pass"
SLOW = {
    "sleeping": f"{SLEEP}(0.5)",
    # Holds the GIL all the time, but when Python makes it switch.
    "computing": BUSY,
}

# In a process of its own, so that what is measured is the service and not these clients.
CLIENTS = """
import http.client, sys, threading
port, count, body = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def run():
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while True:
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        assert connection.getresponse().read()
for _ in range(count):
    threading.Thread(target=run).start()
"""


@pytest.mark.parametrize("kind", SLOW)
def test_probes_are_answered_while_the_model_computes(
    baked: Path, tmp_path: Path, kind: str
) -> None:
    folder = wrapped(baked, tmp_path, SLOW[kind])
    with serve(folder) as service:
        command = [sys.executable, "-c", CLIENTS, str(service.port), "64", service.body.decode()]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as clients:
            time.sleep(1)
            try:
                times = [probe(service) for _ in range(200)]
                assert clients.poll() is None
            finally:
                clients.kill()
    times.sort()
    p50, p99 = times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3
    print(f"{kind}: /healthz p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {times[-1] * 1e3:.1f} ms")
    assert p99 < 50


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_web_concurrency_is_the_number_of_workers(baked: Path, workers: int) -> None:
    with serve(baked, WEB_CONCURRENCY=workers) as service:
        service.wait_workers(workers)
        time.sleep(0.5)
        assert len(service.workers) == workers


def test_default_workers_follow_the_cpus(baked: Path) -> None:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        with serve(baked, WEB_CONCURRENCY=0) as service:
            assert len(service.workers) == 1
    finally:
        os.sched_setaffinity(0, mine)
