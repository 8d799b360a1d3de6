"""Models that each worker loads by itself, because a fork would lose their threads."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import (
    START_SECONDS,
    copied,
    edit,
    extend_model,
    make,
    manifest,
    serve,
    start_refused,
    vouched,
)
from kinds import Kind
from test_lifecycle import load

ONNX = Kind("onnx_session")
LOADING_SECONDS = 6


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def per_worker(service: Path, into: Path, when_loaded: str) -> Path:
    """Return a copy of a service whose workers load the model each, and first run some code."""
    folder = copied(service, into)
    extend_model(folder, f"\n{when_loaded}\n")
    found = manifest(vouched(folder)) | {"per_worker": True}
    (folder / "artifact" / "manifest.json").write_text(json.dumps(found))
    return folder


@pytest.fixture(scope="module")
def slow(baked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service whose workers take LOADING_SECONDS to load their model."""
    code = f"__import__('time').sleep({LOADING_SECONDS})"
    return per_worker(baked, tmp_path_factory.mktemp("slow"), code)


def test_sessions_with_threads_retire_and_stop_under_load(baked: Path, tmp_path: Path) -> None:
    folder = ONNX.service(baked, tmp_path)
    said = " ".join(make(folder, "train", venv=ONNX.venv).stdout.split())
    assert "threads, which no fork brings along, so each worker loads the model by itself" in said
    assert manifest(folder)["per_worker"] and not manifest(baked)["per_worker"]
    python = ONNX.venv / "bin" / "python"
    settings = {"WEB_CONCURRENCY": 2, "MAX_REQUESTS": 200, "KEEPALIVE_SECONDS": 1}
    with (
        serve(folder, python, GRACEFUL_TIMEOUT_SECONDS=10, **settings) as service,
        load(service, 16, reconnects=True) as clients,
    ):
        first = service.workers
        wait_until(lambda: "Retiring" in service.logged and not {*first} <= {*service.workers})
        for client in clients:
            client.reconnects = False
        service.process.terminate()
        asked = time.monotonic()
        assert service.process.wait(20) == 0
        assert time.monotonic() - asked < 10
        for client in clients:
            client.join(5)
        assert not any(client.lost or client.wrong for client in clients)
        # As gunicorn reports signals and exit codes other than 0. A successor that still loaded was
        # free to end by the SIGTERM that it got.
        assert not re.search(r"was sent (?!SIGTERM)|exited with", service.logged)


def test_retiring_worker_serves_until_its_successor_has_loaded(slow: Path) -> None:
    with serve(slow, MAX_REQUESTS=20, KEEPALIVE_SECONDS=1) as service:
        [first] = service.workers
        longest = 0.0
        while first in service.workers:
            began = time.monotonic()
            assert service.post(service.body).status_code == 200
            longest = max(longest, time.monotonic() - began)
        assert "Retiring" in service.logged
        assert longest < LOADING_SECONDS / 2


def test_worker_that_still_loads_ends_at_once(slow: Path) -> None:
    with serve(slow, MAX_REQUESTS=1, KEEPALIVE_SECONDS=1) as service:
        while len(service.workers) < 2:
            service.post(service.body)
        service.process.terminate()
        asked = time.monotonic()
        assert service.process.wait(20) == 0
        assert time.monotonic() - asked < LOADING_SECONDS / 2


def test_worker_that_is_just_forked_ends_when_asked(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    edit(folder / "service/worker.py", "settings = Settings", "time.sleep(2); settings = Settings")
    with serve(folder, MAX_REQUESTS=1, KEEPALIVE_SECONDS=1) as service:
        while len(service.workers) < 2:
            service.post(service.body)
        service.process.terminate()
        assert service.process.wait(10) == 0  # not only after GRACEFUL_TIMEOUT_SECONDS


def test_refusal_of_a_worker_that_loads_is_one_line(baked: Path, tmp_path: Path) -> None:
    folder = per_worker(baked, tmp_path, "")
    path = folder / "artifact" / str(manifest(folder)["files"]["model"]["path"])
    path.write_bytes(path.read_bytes()[:-1])
    assert "sha256" in start_refused(folder)
