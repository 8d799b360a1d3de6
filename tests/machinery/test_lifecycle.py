"""What gunicorn's hooks do, without gunicorn; with it: tests/test_lifecycle.py of the template."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from service.lifecycle import Lifecycle, Retirement
from service.settings import Settings


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle(Settings(web_concurrency=2))


def test_workers_are_numbered_with_the_least_number_that_is_free(lifecycle: Lifecycle) -> None:
    server = SimpleNamespace(WORKERS={})

    def fork(pid: int) -> int:
        server.WORKERS[pid] = worker = SimpleNamespace()
        del server.WORKERS[pid]  # gunicorn adds it after the hook
        lifecycle.pre_fork(server, worker)
        server.WORKERS[pid] = worker
        return int(worker.index)

    assert [fork(10), fork(11), fork(12)] == [0, 1, 2]
    del server.WORKERS[11]
    assert fork(13) == 1


@pytest.mark.parametrize(
    ("age", "requests", "due"), [(0.0, 100, False), (6.0, 99, False), (6.0, 100, True)]
)
def test_a_worker_retires_after_its_requests_but_not_in_its_first_seconds(
    age: float, requests: int, due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("service.lifecycle.time.monotonic", lambda: now)
    retirement = Retirement(after_requests=100, not_before_seconds=5)
    now += age
    assert retirement.due(requests) is due
    assert not due or not retirement.due(requests + 1)  # it makes room once


@pytest.mark.parametrize("code", [0, 3])
def test_a_worker_stops_shadow_traffic_then_telemetry_and_waits_for_no_thread(
    lifecycle: Lifecycle, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[Any] = []
    monkeypatch.setattr("os._exit", did.append)
    extensions = {
        "shadow": SimpleNamespace(stop=lambda: did.append("shadow")),
        "telemetry": SimpleNamespace(stop=lambda: did.append("telemetry")),
    }
    worker = SimpleNamespace(wsgi=SimpleNamespace(extensions=extensions))
    with pytest.raises(SystemExit):
        try:
            sys.exit(code)
        finally:
            lifecycle.worker_exit(None, worker)
    assert did == ["shadow", "telemetry", code]


def test_a_worker_that_never_loaded_the_service_just_ends(lifecycle: Lifecycle) -> None:
    lifecycle.worker_exit(None, SimpleNamespace(wsgi=None))
