from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from service.app import create_app
from service.engine import Engine
from service.errors import RequestError
from service.settings import Settings
from tests import toy


@pytest.fixture
def golden(engine: Engine) -> Any:
    return engine.manifest.golden


def test_predict_answers_each_instance_in_order(client: FlaskClient, golden: Any) -> None:
    response = client.post("/predict", json={"instances": golden.instances})
    assert response.status_code == 200
    assert response.json is not None
    for answer, expected in zip(response.json["predictions"], golden.predictions, strict=True):
        assert answer["label"] == expected["label"]
        assert answer["score"] == pytest.approx(expected["score"])


def test_the_answer_says_who_gave_it_and_how_long_it_took(
    client: FlaskClient, engine: Engine, golden: Any
) -> None:
    response = client.post("/predict", json={"instances": golden.instances[:1]})
    assert response.headers["X-Model-Version"] == engine.manifest.version
    assert len(response.headers["X-Request-Id"]) == 32
    stages = [part.split(";")[0] for part in response.headers["Server-Timing"].split(", ")]
    assert stages == ["decode", "queue", "inference", "encode"]


@pytest.mark.parametrize("path", ["/predict", "/nowhere", "/healthz", "/"])
def test_the_request_id_is_echoed_on_every_answer(client: FlaskClient, path: str) -> None:
    response = client.get(path, headers={"X-Request-Id": "abc-123"})
    assert response.headers["X-Request-Id"] == "abc-123"


@pytest.mark.parametrize("given", ["", "x" * 129, "with space", "ümlaut", "tab\t"])
def test_an_unusable_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    found = client.get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert found != given and len(found) == 32


def post(client: FlaskClient, body: bytes, **headers: str) -> Any:
    given = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return client.post("/predict", data=body, headers=given)


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"{}", {}, 400, "invalid request body: instances: missing"),
        (b"{}", {"Content_Type": "text/plain"}, 415, "send Content-Type: application/json, not t"),
        (b"{}", {"Content_Type": ""}, 415, "send Content-Type: application/json, not nothing"),
        (b"{}", {"Content_Encoding": "gzip"}, 415, "send the body without Content-Encoding"),
        (b" " * 20_001, {}, 413, "the body is larger than 20000 bytes"),
        (json.dumps({"instances": [[]] * 101}).encode(), {}, 400, "expected 5 values"),
    ],
)
def test_errors_have_one_shape(
    client: FlaskClient, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    response = post(client, body, **headers)
    assert response.status_code == status
    assert set(response.json) == {"error", "details", "request_id"}
    assert message in response.json["error"]
    assert response.json["request_id"] == response.headers["X-Request-Id"]


def test_a_content_type_with_charset_will_do(client: FlaskClient, golden: Any) -> None:
    body = json.dumps({"instances": golden.instances}).encode()
    assert post(client, body, Content_Type="application/json; charset=utf-8").status_code == 200


def test_a_chunked_body_is_limited_too(client: FlaskClient) -> None:
    response = client.post(
        "/predict",
        input_stream=io.BytesIO(b" " * 20_001),
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert response.status_code == 413


def test_too_many_instances_are_a_413(client: FlaskClient, golden: Any) -> None:
    values = list(golden.instances[0].values())
    response = client.post("/predict", json={"instances": [values] * 101})
    assert (response.status_code, response.json["error"]) == (  # type: ignore[index]
        413,
        "at most 100 instances in one request, got 101",
    )


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


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/predict", 405, {"POST", "OPTIONS"}),
        ("POST", "/healthz", 405, {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/predict/", 404, None),
        ("GET", "/nowhere", 404, None),
    ],
)
def test_other_routes_and_methods(
    client: FlaskClient, method: str, path: str, status: int, allow: set[str] | None
) -> None:
    response = client.open(path, method=method)
    assert response.status_code == status
    assert response.json is not None and response.json["error"]
    if allow:
        assert set(response.headers["Allow"].split(", ")) == allow


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


def test_metadata_is_the_manifest_without_golden_data(client: FlaskClient, engine: Engine) -> None:
    metadata = client.get("/metadata").json
    assert metadata is not None
    assert metadata["version"] == engine.manifest.version
    assert [item["name"] for item in metadata["inputs"]] == list(toy.load_data()[0].columns)
    assert "golden" not in metadata


def test_the_openapi_document_is_valid_and_its_example_works(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    validate(document)
    operation = document["paths"]["/predict"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    promised = operation["responses"]["200"]["content"]["application/json"]["example"]
    assert client.post("/predict", json=example).json == promised


def test_the_openapi_document_says_what_each_input_is(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    schemas = document["components"]["schemas"]
    instance = schemas["Instance"]
    assert {name: item["type"] for name, item in instance["properties"].items()} == {
        "age": "integer",
        "monthly income": ["number", "null"],
        "plan": ["string", "null"],
        "member": "boolean",
        "region": "string",
    }
    assert instance["required"] == ["age", "member", "region"]
    assert schemas["Prediction"]["properties"]["label"]["enum"] == ["leaves", "stays"]


def test_every_documented_path_is_served(client: FlaskClient, app: Flask) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    served = {rule.rule for rule in app.url_map.iter_rules() if not rule.rule.startswith("/docs")}
    assert set(document["paths"]) == served


def test_pages(client: FlaskClient) -> None:
    card = client.get("/")
    assert card.mimetype == "text/html" and "data:image/" in card.text
    docs = client.get("/docs")
    assert docs.mimetype == "text/html" and "/docs/swagger-ui-bundle.js" in docs.text
    with client.get("/docs/swagger-ui-bundle.js") as asset:
        assert asset.status_code == 200
    assert client.get("/docs/missing.js").status_code == 404
    assert client.get("/docs/../app.py").status_code == 404
