from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.engine import Engine
from service.telemetry import Telemetry


class Broken:
    """Whatever is asked of it fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


@pytest.fixture
def telemetry(app: Flask, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    found: Telemetry = app.extensions["telemetry"]
    monkeypatch.setattr(engine.batcher, "_observer", found)
    for name in ("metrics", "_tracing", "_drift"):
        monkeypatch.setattr(found, name, Broken())
    yield found
    found._ended.clear()


def test_broken_telemetry_costs_no_request(
    client: FlaskClient, telemetry: Telemetry, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"instances": engine.manifest.golden.instances}
    for _ in range(3):
        assert client.post("/predict", json=body).status_code == 200
        assert client.get("/metadata").status_code == 200
        assert client.get("/nowhere").status_code == 404  # which would have a log line
    assert len(telemetry._ended) == 9
    telemetry._report(100)
    assert not telemetry._ended
    assert {record.name for record in caplog.records} == {"service.telemetry"}


def test_what_nobody_reports_is_bounded(
    client: FlaskClient, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.telemetry.MOST_ENDED", 5)
    for _ in range(20):
        assert client.get("/metadata").status_code == 200
    assert len(telemetry._ended) <= 6
