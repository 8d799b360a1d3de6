"""What gunicorn's hooks do, without gunicorn; with it: tests/test_lifecycle.py of the template."""

from __future__ import annotations

from collections.abc import Callable
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


def test_the_end_of_a_retired_worker_leaves_as_many_as_there_should_be(
    lifecycle: Lifecycle,
) -> None:
    server = SimpleNamespace(num_workers=3)  # a retiring worker had asked for one more
    for _ in range(3):
        lifecycle.child_exit(server, None)
    assert server.num_workers == 2


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


@pytest.mark.parametrize(("delivered", "ends"), [(True, []), (False, [0])])
def test_shadow_traffic_stops_before_telemetry_and_a_dead_agent_holds_up_nobody(
    lifecycle: Lifecycle, delivered: bool, ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def stop(name: str, result: Any) -> Callable[[], Any]:
        def stopped() -> Any:
            order.append(name)
            return result

        return stopped

    exits: list[int] = []
    monkeypatch.setattr("os._exit", exits.append)
    extensions = {
        "shadow": SimpleNamespace(stop=stop("shadow", None)),
        "telemetry": SimpleNamespace(stop=stop("telemetry", delivered)),
    }
    worker = SimpleNamespace(wsgi=SimpleNamespace(extensions=extensions))
    lifecycle.worker_exit(None, worker)
    assert order == ["shadow", "telemetry"] and exits == ends


def test_a_worker_that_never_loaded_the_service_just_ends(lifecycle: Lifecycle) -> None:
    lifecycle.worker_exit(None, SimpleNamespace(wsgi=None))
