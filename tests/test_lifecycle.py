"""Stopping, crashing and slow models, with real signals: who gets an answer, and when."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import requests
from harness import Service, copied, edit, extend_model, serve, vouched, wrapped

# More than a call's neighbours may wait for, and than a test may take.
NEVER = 1000

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
            if response.getheader("Connection") == "close" and not self.reconnects:
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


def test_idle_connections_get_a_last_call(baked: Path) -> None:
    def ask(connection: http.client.HTTPConnection, method: str, path: str) -> str | None:
        connection.request(method, path, service.body if method == "POST" else None, HEADERS)
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        return response.getheader("Connection")

    with serve(baked) as service, ExitStack() as stack:
        # Of either way into the service: that of plain requests and gunicorn's.
        ways = [("POST", "/predict"), ("GET", "/metadata")] * 2
        clients = [http.client.HTTPConnection("127.0.0.1", service.port) for _ in ways]
        for client in clients:
            stack.callback(client.close)
        for client, way in zip(clients, ways, strict=True):
            assert ask(client, *way) == "keep-alive"
        with closing(service.connect()):  # that has never said a word
            service.process.terminate()
            started = time.monotonic()
            while True:  # until it takes no new ones, and so is on its way out
                try:
                    service.connect().close()
                except ConnectionRefusedError:
                    break
                assert time.monotonic() - started < 5
                time.sleep(0.05)
            for client, way in zip(clients[:2], ways[:2], strict=True):
                assert ask(client, *way) == "close"
            for client in clients[2:]:
                assert client.sock.recv(1) == b""
            assert service.process.wait(10) == 0
        took = time.monotonic() - started
        print(f"ended {took:.1f} s after SIGTERM")
        assert took < 10 and "graceful timeout" not in service.logged


def test_last_call_is_as_long_as_it_says(baked: Path) -> None:
    def ask(client: http.client.HTTPConnection) -> str | None:
        client.request("POST", "/predict", service.body, HEADERS)
        response = client.getresponse()
        response.read()
        return response.getheader("Connection")

    with serve(baked, KEEPALIVE_SECONDS=2, WEB_CONCURRENCY=1) as service, ExitStack() as stack:
        told, idle = (http.client.HTTPConnection("127.0.0.1", service.port) for _ in range(2))
        stack.callback(told.close)
        stack.callback(idle.close)
        time.sleep(0.6)  # a worker looks each second, from when it began to serve
        assert ask(told) == ask(idle) == "keep-alive"
        service.process.terminate()
        while ask(told) == "keep-alive":
            pass
        left = time.monotonic()
        assert idle.sock.recv(1) == b""
        assert time.monotonic() - left > 1.9
        assert service.process.wait(10) == 0


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
                # What else the machine has to do may spoil a round, the service spoils all.
                p99 = min(p99_of_probes(service, kind) for _ in range(3))
                assert clients.poll() is None
            finally:
                clients.kill()
    assert p99 < 50


def p99_of_probes(service: Service, kind: str) -> float:
    """Return the 99th percentile of some probes' milliseconds."""
    times = sorted(probe(service) * 1e3 for _ in range(150))
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    print(f"{kind}: /healthz p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {times[-1]:.1f} ms")
    return p99


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


def poison(service: Service, number: float) -> dict[str, list[dict[str, float]]]:
    """Return a request that the model of a test knows by a value of its own."""
    return {"instances": [{**service.instance, "mean radius": number}]}


def eventually(true: Callable[[], object], service: Service, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, service.logged
        time.sleep(0.05)


STUCK = f"{SLEEP}({NEVER})"
STUCK_WITH_GIL = f"import ctypes; ctypes.PyDLL(None).sleep({NEVER})"


def test_predict_that_never_returns_costs_its_worker_and_nobody_for_long(
    baked: Path, tmp_path: Path
) -> None:
    folder = wrapped(baked, tmp_path, f'if (frame["mean radius"] > 1e5).any(): {STUCK}')
    limits = {"REQUEST_TIMEOUT_MS": 1000, "PREDICT_TIMEOUT_MS": 2000, "KEEPALIVE_SECONDS": 1}
    with serve(folder, **limits) as service:
        answered_by: set[int] = set()
        # Again and again, as a client that tries what has failed.
        for turn in range(3):
            (worker,) = service.workers
            assert service.post(service.body).status_code == 200
            answered_by.add(worker)
            response = service.post(poison(service, 1e6), **{"X-Request-Id": f"poison-{turn}"})
            assert response.status_code == 504
            # Who comes now is told so, by the worker that is stuck or by its queue, or answered.
            statuses = [200]
            deadline = time.monotonic() + 30
            while worker in service.workers or statuses[-1] != 200:
                statuses.append(service.post(service.body).status_code)
                assert time.monotonic() < deadline, service.logged
            assert set(statuses) <= {200, 503, 504}
            eventually(lambda: len(service.workers) == 1, service)
            lines = [line for line in service.logged.splitlines() if f"poison-{turn}" in line]
            assert sum("The model does not answer: replacing" in line for line in lines) == 1, lines
        assert len(answered_by) == 3
        assert "Traceback" not in service.logged


def test_requests_that_wait_behind_a_stuck_predict_are_told_so(baked: Path, tmp_path: Path) -> None:
    folder = wrapped(baked, tmp_path, f'if (frame["mean radius"] > 1e5).any(): {STUCK}')
    # Nobody's own deadline is the end of it.
    limits = {"REQUEST_TIMEOUT_MS": 60_000, "PREDICT_TIMEOUT_MS": 2000}
    with serve(folder, **limits) as service, ThreadPoolExecutor(9) as clients:
        stuck = clients.submit(service.post, poison(service, 1e6), **{"X-Request-Id": "poison"})
        time.sleep(0.5)
        behind = [clients.submit(service.post, service.body) for _ in range(8)]
        assert stuck.result().status_code == 504
        for waited in behind:
            assert waited.result().status_code == 503
            assert waited.result().headers["Retry-After"] == "1"
        # Readiness is off until the successor is there.
        assert service.post(service.body).status_code in (200, 503)
        eventually(lambda: service.post(service.body).status_code == 200, service)
        (line,) = service.lines("The model does not answer: replacing")
    assert "in its call: poison" in line


def test_predict_that_keeps_the_interpreter_for_ever_costs_its_worker(
    baked: Path, tmp_path: Path
) -> None:
    folder = wrapped(baked, tmp_path, f'if (frame["mean radius"] > 1e5).any(): {STUCK_WITH_GIL}')
    with serve(folder, GUNICORN_CMD_ARGS="--timeout 3") as service:
        (worker,) = service.workers
        with pytest.raises(requests.ConnectionError):
            service.post(poison(service, 1e6))
        assert service.post(service.body).status_code == 200
        assert worker not in service.wait_workers(1)
        assert f"WORKER TIMEOUT (pid:{worker})" in service.logged


RAISES = """
import asyncio, gevent, greenlet
ERRORS = [
    SystemExit(3), SystemExit(0), SystemExit("bye"), KeyboardInterrupt(), GeneratorExit(),
    greenlet.GreenletExit(), gevent.Timeout(1), gevent.hub.LoopExit(), MemoryError(),
    asyncio.CancelledError(), BaseExceptionGroup("several", [SystemExit(3)]), StopIteration(),
]
_predict = predict

def predict(model: Any, frame: pd.DataFrame) -> Any:
    number = frame["mean radius"].max() - 1e5
    if number >= 0:
        raise ERRORS[int(number)]
    return _predict(model, frame)
"""


def test_no_exception_of_predict_ends_more_than_its_request(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    extend_model(folder, RAISES)
    with serve(vouched(folder), LOG_SAMPLE=0) as service, ThreadPoolExecutor(8) as clients:
        workers = service.workers
        for number in range(12):
            for _ in range(3):
                neighbours = [clients.submit(service.post, service.body) for _ in range(7)]
                failed = service.post(poison(service, 1e5 + number))
                assert failed.status_code == 500 and failed.json()["error"] == "internal error"
                assert {each.result().status_code for each in neighbours} == {200}
        assert service.workers == workers and service.process.poll() is None
        # What it was is in the log.
        for name in ("SystemExit: 3", "KeyboardInterrupt", "GreenletExit", "Timeout: 1 second"):
            assert name in service.logged


def test_predict_that_ends_its_process_ends_nothing_else(baked: Path, tmp_path: Path) -> None:
    # 3 and 4 are what gunicorn takes for a reason to stop altogether.
    folder = wrapped(
        baked, tmp_path, 'if (n := frame["mean radius"].max()) > 1e5: os._exit(int(n - 1e5))'
    )
    edit(folder / "model.py", "import numpy as np", "import os\nimport numpy as np")
    with serve(vouched(folder), WEB_CONCURRENCY=2) as service:
        service.wait_workers(2)
        for code in (3, 4):
            with pytest.raises(requests.ConnectionError):
                service.post(poison(service, 1e5 + code))
            assert service.post(service.body).status_code == 200
        service.wait_workers(2)


# All of it on one thread, which is not the one that serves, and more than once.
USES = """
import asyncio, multiprocessing, os, queue, subprocess, sys, threading, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import sklearn
from joblib import Parallel, delayed
from joblib.parallel import SequentialBackend, get_active_backend

sklearn.set_config(assume_finite=True)
np.seterr(divide="raise")
_predict = predict

async def later():
    await asyncio.sleep(0.01)
    return 1

def predict(model: Any, frame: pd.DataFrame) -> Any:
    assert sklearn.get_config()["assume_finite"]
    assert np.geterr()["divide"] == "raise"
    assert isinstance(get_active_backend()[0], SequentialBackend)
    text = "x" * 200_000
    assert subprocess.run(["cat"], input=text, capture_output=True, text=True).stdout == text
    assert os.system("exit 3") >> 8 == 3
    assert asyncio.run(later()) == 1
    with ThreadPoolExecutor(2) as threads:
        assert [*threads.map(abs, [-1, -2])] == [1, 2]
    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    thread.join()
    assert Parallel(2)(delayed(abs)(i) for i in [-1, -2]) == [1, 2]
    assert Parallel(2, backend="threading")(delayed(abs)(i) for i in [-1, -2]) == [1, 2]
    for end in (sys.exit, lambda: None, lambda: 1 / 0):  # a child that does not end by itself
        child = os.fork()
        if child == 0:
            end()
            return _predict(model, frame)
        assert os.waitpid(child, 0)[1] >> 8 == 1
    if len(frame) == 1:  # each takes a second
        process = multiprocessing.Process(target=abs, args=(1,))
        process.start()
        process.join()
        assert process.exitcode == 0
        with ProcessPoolExecutor(2) as processes:
            assert [*processes.map(abs, [-1, -2])] == [1, 2]
    return _predict(model, frame)
"""


def test_predict_may_use_processes_threads_and_libraries_settings(
    baked: Path, tmp_path: Path
) -> None:
    folder = copied(baked, tmp_path)
    extend_model(folder, USES)
    with serve(vouched(folder)) as service:
        workers = service.workers
        for _ in range(3):
            assert service.post(service.body).status_code == 200, service.logged
        assert service.workers == workers


# Two processes that outlive the service.
ORPHANS = """
import multiprocessing, subprocess, time
CHILDREN = []
_predict = predict

def predict(model: Any, frame: pd.DataFrame) -> Any:
    if not CHILDREN:
        CHILDREN.append(subprocess.Popen(["sleep", "60"], start_new_session=True))
        fork = multiprocessing.get_context("fork")
        CHILDREN.append(fork.Process(target=subprocess.run, args=(["sleep", "60"],)))
        CHILDREN[1].start()
        open("children", "w").write(" ".join(str(child.pid) for child in CHILDREN))
    return _predict(model, frame)
"""


def test_what_predict_has_started_does_not_keep_the_port(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    extend_model(folder, ORPHANS)
    children: list[int] = []
    try:
        with serve(vouched(folder)) as service:
            children = [int(pid) for pid in (folder / "children").read_text().split()]
            (worker,) = service.workers
            service.process.kill()
            os.kill(worker, signal.SIGKILL)
            service.process.wait()
            assert all(Path(f"/proc/{pid}").exists() for pid in children)
            with socket.socket() as mine:
                mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                eventually(lambda: mine.connect_ex(("127.0.0.1", service.port)) != 0, service, 5)
            socket.create_server(("127.0.0.1", service.port)).close()
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("settings", "signals", "workers"),
    [
        ({"GUNICORN_CMD_ARGS": "--workers 3"}, [], 3),
        ({}, [signal.SIGTTIN, signal.SIGTTIN], 3),
        ({"WEB_CONCURRENCY": 3}, [signal.SIGTTOU], 2),
    ],
)
def test_number_of_workers_stays_what_the_operator_made_it(
    baked: Path, settings: dict[str, object], signals: list[int], workers: int
) -> None:
    with serve(baked, MAX_REQUESTS=100, KEEPALIVE_SECONDS=1, **settings) as service:
        for number in signals:
            service.process.send_signal(number)
            time.sleep(0.5)
        first = set(service.wait_workers(workers))
        for victim in first:
            os.kill(victim, signal.SIGKILL)
        eventually(lambda: first.isdisjoint(service.wait_workers(workers)), service)
        service.wait_ready()
        # And when workers retire, several at a time.
        second = set(service.workers)
        with load(service, 8, reconnects=True) as clients:
            eventually(lambda: second.isdisjoint(service.workers), service, 60)
        assert not any(client.wrong for client in clients)
        eventually(lambda: len(service.workers) == workers, service)
        time.sleep(2)
        assert len(service.workers) == workers


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_signals_that_would_replace_the_program_are_refused(baked: Path, number: int) -> None:
    with serve(baked, WEB_CONCURRENCY=2) as service, load(service, 8) as clients:
        workers = service.wait_workers(2)
        service.process.send_signal(number)
        eventually(lambda: f"{signal.Signals(number).name}: " in service.logged, service)
        time.sleep(1)
        assert service.workers == workers
        service.process.terminate()
        assert service.process.wait(20) == 0
        for client in clients:
            client.join(5)
        assert not any(client.lost or client.wrong for client in clients)
