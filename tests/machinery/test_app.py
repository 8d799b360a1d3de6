"""The application in this process, with a model that can be made to refuse, fail and stall.

The HTTP API as clients see it is in the service's own tests/test_api.py.
"""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

import toy
from service.app import create_app
from service.engine import Engine
from service.errors import RequestError
from service.settings import Settings
from service.worker import Worker


@pytest.fixture
def golden(engine: Engine) -> Any:
    return engine.manifest.golden


def test_an_input_that_the_model_refuses_is_a_400_with_its_words(
    client: FlaskClient, golden: Any
) -> None:
    response = client.post("/predict", json={"instances": [golden.instances[0] | {"age": 200}]})
    assert response.status_code == 400
    assert "nobody is that old" in response.text


def test_a_failing_model_is_a_500_without_its_words(
    client: FlaskClient, golden: Any, caplog: pytest.LogCaptureFixture
) -> None:
    response = client.post("/predict", json={"instances": [golden.instances[0] | {"age": -1}]})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "secret internals" in caplog.text
    line = vars(caplog.records[-1])["fields"]
    assert line["request_id"] == response.headers["X-Request-Id"]
    assert (line["route"], line["http.status_code"]) == ("/predict", 500)


def test_an_overloaded_service_refuses_before_it_reads(
    client: FlaskClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.batcher, "expected_wait", lambda: 2.5)
    response = client.post("/predict", data=b"not even JSON")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "3")
    assert response.json is not None and response.json["error"] == "overloaded: try again in 3 s"


@pytest.mark.parametrize("asked", ["0", "-1", "1.5", "soon", "", "9" * 10])
def test_a_timeout_that_is_no_number_of_milliseconds_is_a_400(
    client: FlaskClient, golden: Any, asked: str
) -> None:
    response = client.post(
        "/predict",
        json={"instances": golden.instances},
        headers={"X-Request-Timeout-Ms": asked},
    )
    assert (response.status_code, "X-Request-Timeout-Ms" in response.text) == (400, True)


def test_a_client_may_ask_for_an_earlier_end_but_not_for_a_later_one(
    client: FlaskClient, engine: Engine, golden: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def submit(rows: Any, timeout: float, *_: Any) -> Any:
        given.append(timeout)
        raise RequestError(504, "no answer")

    monkeypatch.setattr(engine.batcher, "submit", submit)
    for asked in ("200", "999999999"):
        headers = {"X-Request-Timeout-Ms": asked}
        response = client.post("/predict", json={"instances": golden.instances}, headers=headers)
        assert response.status_code == 504
    assert given == [0.2, 30]


def test_readiness_follows_the_engine(trained: Path) -> None:
    app = create_app(Settings(artifact_dir=trained), toy.predict)
    engine: Engine = app.extensions["engine"]
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    engine.start()
    assert client.get("/readyz").status_code == 200
    engine.ready = False
    assert client.get("/readyz").status_code == 503
    engine.batcher.close()


def test_the_openapi_document_says_what_each_input_is(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    schemas = document["components"]["schemas"]
    instance = schemas["Instance"]
    kinds = {
        name: item.get("type") or [one["type"] for one in item["anyOf"]]
        for name, item in instance["properties"].items()
    }
    assert kinds == {
        "age": "integer",
        "monthly income": ["number", "null"],
        "plan": ["string", "null"],
        "member": "boolean",
        "region": "string",
    }
    assert instance["required"] == ["age", "member", "region"]
    assert schemas["Prediction"]["properties"]["label"]["enum"] == ["leaves", "stays"]


def test_no_page_shows_a_golden_row_or_what_is_private(artifact_dir: Path) -> None:
    path = artifact_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    [income, plan] = manifest["inputs"][1:3]
    plan.update(public=False, categories=None)
    del manifest["baseline"]["inputs"]["plan"]
    path.write_text(json.dumps(manifest))
    client = create_app(Settings(artifact_dir=artifact_dir), toy.predict).test_client()
    document = client.get("/openapi.json").json
    assert document is not None
    body = document["paths"]["/predict"]["post"]["requestBody"]
    [instance] = body["content"]["application/json"]["example"]["instances"]
    assert (instance["plan"], instance["region"], instance["member"]) == ("text", "north", True)
    middle = (income["minimum"] + income["maximum"]) / 2
    assert instance["monthly income"] == pytest.approx(middle, rel=1e-3)
    assert instance not in manifest["golden"]["instances"]
    metadata = client.get("/metadata").json
    assert metadata is not None and metadata.keys() == manifest.keys() - {"golden"}
    assert "basic" not in client.get("/openapi.json").text + client.get("/metadata").text


@pytest.mark.parametrize("root", ["", "/models/tumour"])
def test_no_path_reaches_a_route_that_does_not_know_it(trained: Path, root: str) -> None:
    app = create_app(Settings(artifact_dir=trained, root_path=root), toy.predict)
    engine: Engine = app.extensions["engine"]
    engine.start()
    for path in ("", "/", "//", "predict", "/predict", "//predict", "/predict\0", "*", "\xff"):
        for given in (path, root + path, f"/{root}{path}"):
            environ = EnvironBuilder(method="POST").get_environ() | {"PATH_INFO": given}
            status = app.test_client().open(environ).status_code
            assert status in (404, 405, 415), given
    engine.batcher.close()


def test_what_gunicorn_fails_at_is_a_500_as_all_are(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    server, connection = socket.socketpair()
    with server, connection:
        worker: Any = SimpleNamespace(wsgi=app)
        Worker.handle_error(
            worker, None, server, ("127.0.0.1", 1), RuntimeError("secret internals")
        )
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = json.loads(response.read())
    assert (response.status, body["error"]) == (500, "internal error")
    assert response.headers["Connection"] == "close"
    line = vars(caplog.records[-1])["fields"]
    assert (line["request_id"], line["route"]) == (body["request_id"], "other")
    assert "secret internals" in caplog.text


def test_every_documented_path_is_served(client: FlaskClient, app: Flask) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    served = {rule.rule for rule in app.url_map.iter_rules() if not rule.rule.startswith("/docs")}
    assert set(document["paths"]) == served
