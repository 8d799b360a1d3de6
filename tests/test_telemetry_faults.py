"""Agents that are away, deaf or come and go: no request, log or memory may tell the difference."""

from __future__ import annotations

import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from agent import Agent, install
from dogstatsd import Receiver
from harness import Service, behind_a_proxy, copied, free_port, manifest, serve

STOP_SECONDS = 10
# To notice an agent that has come.
BACK_SECONDS = 5
# To tell of metrics that nobody takes: they wait ten seconds for an agent to come.
LOSS_SECONDS = 30
# More than what the service without telemetry takes.
NOISE_SECONDS = 0.002
STALL_SECONDS = 0.5
START_SECONDS = 5
GROWTH_MB = 8

# What a process has loaded.
MODULES = """
_create_app = create_app

def create_app(*args: Any) -> Flask:
    import sys
    app = _create_app(*args)
    app.get("/modules")(lambda: sorted(sys.modules))
    return app
"""

# A name server that takes its time to say that it does not know a name.
SLOW_NAMES = """
import _socket
import time

def slowly(real, sleep=time.sleep):
    def resolve(host, *args, **kwargs):
        if "invalid" in str(host):
            sleep(3)
        return real(host, *args, **kwargs)
    return resolve

for name in "getaddrinfo", "gethostbyname", "gethostbyname_ex":
    setattr(_socket, name, slowly(getattr(_socket, name)))
"""


@dataclass
class Plain:
    """The service without telemetry, to compare with."""

    service: Service
    start_seconds: float


@pytest.fixture(scope="module")
def plain(baked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    folder = copied(baked, tmp_path_factory.mktemp("plain"))
    with (folder / "service" / "app.py").open("a") as source:
        source.write(MODULES)
    started = time.monotonic()
    with serve(folder, LOG_SAMPLE=0) as service:
        yield Plain(service, time.monotonic() - started)


class Caller:
    """Asks on one connection, without the work that a real client makes of it."""

    def __init__(self, service: Service) -> None:
        self.connection = service.connect()
        body = service.body
        head = "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        self.request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def ask(self) -> float:
        """Return the seconds that an answer took."""
        started = time.perf_counter()
        self.connection.sendall(self.request)
        answer = self.connection.recv(65536)
        seconds = time.perf_counter() - started
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"}"), answer
        return seconds

    def close(self) -> None:
        self.connection.close()


def compare(faulty: Service, plain: Plain, requests: int) -> None:
    """Ask both in turn, so that whatever else the machine does concerns both."""
    took: list[list[float]] = [[], []]
    with closing(Caller(faulty)) as one, closing(Caller(plain.service)) as other:
        for caller in one, other:
            caller.ask()
        for _ in range(requests // 20):
            for times, caller in zip(took, (one, other), strict=True):
                times.extend(caller.ask() for _ in range(20))
    (median, slowest), (plain_median, plain_slowest) = [
        (statistics.median(times), max(times)) for times in took
    ]
    print(
        f"median {median * 1e3:.2f} ms, without telemetry {plain_median * 1e3:.2f} ms; "
        f"slowest {slowest * 1e3:.0f} ms, {plain_slowest * 1e3:.0f} ms"
    )
    assert median < 1.5 * plain_median + NOISE_SECONDS
    assert slowest < plain_slowest + STALL_SECONDS


def flood(service: Service, requests: int) -> None:
    """Ask so many times, as fast as the service answers."""

    def ask(times: int) -> None:
        with closing(Caller(service)) as caller:
            for _ in range(times):
                caller.ask()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, [requests // 8] * 8))


def resident_mb(service: Service) -> float:
    """The memory of a worker's own, which is what can grow."""
    (worker,) = service.workers
    rollup = Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()
    (found,) = [line for line in rollup if line.startswith("Private_Dirty:")]
    return int(found.split()[1]) / 1024


def stop(service: Service) -> None:
    started = time.monotonic()
    service.process.terminate()
    assert service.process.wait(STOP_SECONDS) == 0
    print(f"stopped in {time.monotonic() - started:.1f} s")


Settings = dict[str, Any]


@contextmanager
def closed(folder: Path) -> Iterator[Settings]:
    yield {
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{free_port()}",
        "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{free_port()}",
    }


@contextmanager
def black_hole(folder: Path) -> Iterator[Settings]:
    """Takes connections and datagrams, and never looks at them."""
    with ExitStack() as stack:
        traces = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        metrics = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        metrics.bind(str(folder / "dsd.socket"))
        yield {
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{traces.getsockname()[1]}",
            "DD_DOGSTATSD_URL": f"unix://{folder}/dsd.socket",
        }


@contextmanager
def unresolvable(folder: Path) -> Iterator[Settings]:
    (folder / "sitecustomize.py").write_text(SLOW_NAMES)
    yield {"DD_AGENT_HOST": "agent.invalid", "PYTHONPATH": folder}


@pytest.mark.parametrize("fault", [closed, black_hole, unresolvable])
def test_nobody_listens(
    baked: Path,
    plain: Plain,
    tmp_path: Path,
    fault: Callable[[Path], Any],
) -> None:
    with fault(tmp_path) as settings:
        started = time.monotonic()
        with serve(baked, LOG_SAMPLE=0, **settings) as service:
            seconds = time.monotonic() - started
            print(f"started in {seconds:.1f} s")
            assert seconds < 3 * plain.start_seconds + START_SECONDS
            compare(service, plain, 400)
            grown = [resident_mb(service)]
            for _ in range(2):
                flood(service, 1600)
                grown.append(resident_mb(service))
            print(f"worker's memory: {', '.join(f'{mb:.1f}' for mb in grown)} MB")
            assert grown[-1] - grown[0] < GROWTH_MB
            stop(service)
            lines = [json.loads(line) for line in service.logged.splitlines()]
    for line in lines:
        print(line["level"], line["logger"], line["message"][:300])
    assert len(lines) < 30


@pytest.mark.parametrize("kind", ["unix", "inet"])
def test_agent_comes_and_goes_and_comes_back(
    baked: Path, plain: Plain, tmp_path: Path, kind: str
) -> None:
    install()
    unix = kind == "unix"
    metrics = Receiver(tmp_path / "dsd.socket" if unix else None)
    agent = Agent(tmp_path / "apm.socket" if unix else None)
    if not unix:
        metrics.port = free_port()
    settings = {
        "DD_TRACE_AGENT_URL": f"unix://{agent.path}" if unix else agent.url,
        "DD_DOGSTATSD_URL": metrics.url,
    }

    def here(name: str) -> None:
        """Check that what happens now is reported."""
        with agent, metrics:
            started = time.monotonic()
            metrics.clear()
            metrics.wait(lambda: metrics.total("worker.cpu") > 0, BACK_SECONDS)
            print(f"metrics are back after {time.monotonic() - started:.1f} s")
            for _ in range(20):
                assert service.post(service.body, **{"X-Request-Id": name}).status_code == 200
            metrics.wait(lambda: metrics.total("inference.requests") >= 20)
            # What could not be sent before may come now, too.
            agent.wait_spans(20, {"request_id": name})

    with serve(baked, LOG_SAMPLE=0, **settings) as service:
        (worker,) = service.workers
        for name in "once", "again":
            compare(service, plain, 200)
            here(name)
        assert service.workers == [worker]
        stop(service)
        lines = service.logged.splitlines()
    print("\n".join(lines))
    assert len(lines) < 30


@contextmanager
def full(folder: Path) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taker:
        taker.bind(str(folder / "full"))
        yield f"unix://{folder}/full"


@contextmanager
def plain_file(folder: Path) -> Iterator[str]:
    (folder / "file").touch()
    yield f"unix://{folder}/file"


@pytest.mark.parametrize(
    ("name", "address", "line"),
    [
        ("DD_TRACE_AGENT_URL", "localhost:8126", "there will be no traces: ValueError: Unsupp"),
        ("DD_DOGSTATSD_URL", "udp://[::1", "there will be no metrics: Invalid IPv6 URL"),
        ("DD_DOGSTATSD_URL", "unix:///no/socket", "datagrams of metrics at unix:///no/socket so"),
        ("DD_DOGSTATSD_URL", plain_file, "datagrams of metrics at unix:///"),
        ("DD_DOGSTATSD_URL", full, "datagrams of metrics at unix:///"),
    ],
)
def test_an_address_that_takes_nothing_costs_a_line(
    baked: Path, plain: Plain, tmp_path: Path, name: str, address: Any, line: str
) -> None:
    with ExitStack() as stack:
        if callable(address):
            address = stack.enter_context(address(tmp_path))
        service = stack.enter_context(serve(baked, LOG_SAMPLE=0, **{name: address}))
        (worker,) = service.workers
        compare(service, plain, 200)
        deadline = time.monotonic() + LOSS_SECONDS
        while line not in service.logged:
            assert time.monotonic() < deadline, service.logged
            time.sleep(0.1)
        compare(service, plain, 200)
        assert service.workers == [worker]
        stop(service)
        lines = [json.loads(line) for line in service.logged.splitlines()]
    assert len(lines) < 15 and not any("error.stack" in line for line in lines), lines


@pytest.mark.parametrize(
    ("text", "host", "tags", "metric_tags"),
    [
        (
            "team:ml, origin:a b|c ,url:http://x:1,env:dev,service:mine",
            "127.0.0.1",
            {"team": "ml", "origin": "a b|c", "url": "http://x:1", "env": "dev"},
            {"origin": "a_b_c", "service": "mine"},
        ),
        ("team:ml  rack:r-7", "::1", {"team": "ml", "rack": "r-7"}, {}),
    ],
)
def test_tags_of_the_environment_are_on_spans_and_metrics(
    baked: Path,
    tmp_path: Path,
    text: str,
    host: str,
    tags: dict[str, str],
    metric_tags: dict[str, str],
) -> None:
    install()
    with Agent() as agent, Receiver(host=host) as metrics:
        settings = {"DD_TRACE_AGENT_URL": agent.url, "DD_AGENT_HOST": host, "DD_TAGS": text}
        with serve(baked, DD_DOGSTATSD_PORT=metrics.port, **settings) as service:
            assert service.post(service.body, **{"X-Request-Id": "tagged"}).status_code == 200
            (span,) = agent.wait_spans(1, {"request_id": "tagged"})
            metrics.wait(lambda: metrics.total("inference.requests") > 0)
        assert tags.items() <= span["meta"].items()
        assert span["service"] == metric_tags.get("service", manifest(baked)["name"])
        found = [each.tags for each in metrics.samples] + [each.tags for each in metrics.events]
        assert all((tags | metric_tags).items() <= each.items() for each in found), found


def test_agent_is_reached_without_a_proxy(baked: Path) -> None:
    install()
    with (
        Agent() as agent,
        serve(baked, DD_TRACE_AGENT_URL=agent.url, **behind_a_proxy()) as service,
    ):
        assert service.post(service.body, **{"X-Request-Id": "direct"}).status_code == 200
        agent.wait_spans(1, {"request_id": "direct"})


def test_nothing_is_loaded_for_nobody(plain: Plain) -> None:
    loaded = requests.get(f"{plain.service.url}/modules", timeout=10).json()
    assert "flask" in loaded
    families = {name.partition(".")[0] for name in loaded}
    assert not families & {"ddtrace", "datadog", "requests", "urllib3"}
    maps = Path(f"/proc/{plain.service.workers[0]}/maps").read_text()
    assert "sklearn" in maps and "ddtrace" not in maps

    # Metrics alone do not bring ddtrace.
    settings = {"DD_TRACE_ENABLED": "false", "DD_AGENT_HOST": "127.0.0.1"}
    with Receiver() as metrics:
        settings["DD_DOGSTATSD_URL"] = metrics.url
        with serve(plain.service.folder, **settings) as service:
            loaded = requests.get(f"{service.url}/modules", timeout=10).json()
            metrics.wait(lambda: metrics.total("inference.requests") > 0)
    families = {name.partition(".")[0] for name in loaded}
    assert "datadog" in families and "ddtrace" not in families
