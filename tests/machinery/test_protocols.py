"""Contracts of other platforms, in this process: how they are decoded, encoded and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

import toy
from service.app import create_app
from service.artifact import Input, Output
from service.engine import Engine
from service.errors import Refusal, RequestError
from service.platforms import on_platform
from service.protocols.tensors import Tensors
from service.schema import Schema
from service.settings import Settings

ALL = "kserve-v1, v2,sagemaker,vertex"


@pytest.fixture(scope="module")
def app(trained: Path) -> Iterator[Flask]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIP_HEALTH_ROUTE", "/healthz")
        patch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1/deployedModels/2:predict")
        app = create_app(Settings(artifact_dir=trained, protocols=ALL), toy.predict)
    engine: Engine = app.extensions["engine"]
    engine.start()
    yield app
    engine.batcher.close()


@pytest.fixture
def infer(engine: Engine) -> str:
    return f"/v2/models/{engine.manifest.name}/infer"


def tensors(engine: Engine) -> list[dict[str, Any]]:
    """Return the golden instances as a V2 request has them, and as MLServer shapes them."""
    instances = engine.manifest.golden.instances
    kinds = {"int": "INT64", "float": "FP64", "string": "BYTES", "bool": "BOOL"}
    return [
        {
            "name": item.name,
            "shape": [len(instances), 1],
            "datatype": kinds[item.type],
            "data": [one[item.name] for one in instances],
        }
        for item in engine.schema.inputs
    ]


def paths(engine: Engine) -> list[str]:
    name = engine.manifest.name
    return [
        f"/v1/models/{name}:predict",
        "/invocations",
        "/v1/endpoints/1/deployedModels/2:predict",
    ]


def test_what_a_platform_asks_is_answered_as_predict_does(
    client: FlaskClient, engine: Engine, infer: str
) -> None:
    golden = engine.manifest.golden
    body = {"instances": golden.instances}
    right: Any = client.post("/predict", json=body).json
    for path in paths(engine):
        answer = client.post(path, json=body, headers={"X-Request-Id": "a"})
        assert (answer.status_code, answer.json, answer.headers["X-Request-Id"]) == (
            200,
            right,
            "a",
        )
        assert "inference;dur=" in answer.headers["Server-Timing"]
    asked = {"id": "b", "inputs": tensors(engine), "parameters": {"content_type": "pd"}}
    said = client.post(infer, json=asked).json
    assert said and (said["id"], said["model_version"]) == ("b", engine.manifest.version)
    assert {tensor["name"]: tensor["data"] for tensor in said["outputs"]} == {
        name: [one[name] for one in right["predictions"]] for name in ("label", "score")
    }
    assert [(one["datatype"], one["shape"]) for one in said["outputs"]] == [
        ("BYTES", [len(golden.instances)]),
        ("FP64", [len(golden.instances)]),
    ]
    nested = [one | {"data": [[value] for value in one["data"]]} for one in tensors(engine)]
    wanted = {"inputs": nested, "outputs": [{"name": "score"}]}
    version = infer.replace("/infer", f"/versions/{engine.manifest.version}/infer")
    answer = client.post(version, json=wanted, headers={"X-Request-Id": "c"})
    assert answer.json and answer.json["outputs"] == said["outputs"][1:]
    assert answer.json["id"] == "c"


def test_metadata_say_what_to_send(client: FlaskClient, engine: Engine) -> None:
    name, version = engine.manifest.name, engine.manifest.version
    for slash in ("", "/"):
        server = client.get(f"/v2{slash}").json
        assert server == {"name": name, "version": version, "extensions": []}
    metadata = client.get(f"/v2/models/{name}").json
    assert metadata == client.get(f"/v2/models/{name}/versions/{version}").json
    assert metadata and metadata["inputs"] == [
        {"name": "age", "datatype": "INT64", "shape": [-1]},
        {"name": "monthly income", "datatype": "FP64", "shape": [-1]},
        {"name": "plan", "datatype": "BYTES", "shape": [-1]},
        {"name": "member", "datatype": "BOOL", "shape": [-1]},
        {"name": "region", "datatype": "BYTES", "shape": [-1]},
    ]
    assert [one["name"] for one in metadata["outputs"]] == ["label", "score"]
    assert client.get("/v1/models").json == client.get("/v2/models").json == {"models": [name]}


def test_probes_follow_readiness_and_are_not_counted(
    client: FlaskClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = engine.manifest.name
    probes = ["/ping", "/healthz", "/v2/health/ready", f"/v1/models/{name}"]
    probes.append(f"/v2/models/{name}/ready")
    begun: list[str] = []
    telemetry: Any = client.application.extensions["telemetry"]
    monkeypatch.setattr(telemetry, "begin", lambda environ, route: begun.append(route))
    assert [client.get(path).status_code for path in probes] == [200] * 5
    assert client.get("/ping").data == b""
    monkeypatch.setattr(engine, "ready", False)
    assert [client.get(path).status_code for path in probes] == [503] * 5
    assert client.get("/v2/health/live").status_code == 200
    assert begun == []


@pytest.mark.parametrize("change, status, said", [
    ({"inputs": []}, 400, "inputs: expected at least one item"),
    ({"inputs": ...}, 400, "inputs: missing"),
    ({"name": "aeg"}, 400, "inputs[0].name: 'aeg': the model has no such input"),
    ({"name": "region", "datatype": "BYTES"}, 400, "inputs[4].name: 'region': given twice"),
    ({"datatype": "BYTES"}, 400, "inputs[0].datatype: expected a datatype of numbers"),
    ({"shape": [7]}, 400, "inputs[0].data: expected 7 values, by the shape, got"),
    ({"shape": [1, 2]}, 400, "inputs[0].shape: expected [n] or [n, 1]"),
    ({"shape": [2000], "data": [1] * 2000}, 413, "at most 1000 rows"),
    ({"shape": [1], "data": [1]}, 400, "the same number of rows"),
    ({"data": ...}, 400, "inputs[0].data: missing"),
    ({"data": {}}, 400, "inputs[0].data: expected an array or null, got an object"),
    ({"first": "old"}, 400, "age[0]: expected a whole number, got a string"),
    ({"first": 1.5}, 400, "age[0]: expected a whole number, got 1.5"),
    ({"first": None}, 400, "age[0]: expected a whole number, got null"),
    ({"first": 2**70}, 400, "age[0]: expected a whole number <= 9223372036854775807"),
    ({"first": 200}, 400, "nobody is that old"),
    ({"first": -1}, 500, "internal error"),
    ({"parameters": {"content_type": "base64"}}, 400, "expected values as JSON has them"),
    ({"parameters": {"binary_data_size": 8}, "data": ...}, 400, "binary form"),
    ({"outputs": [{"name": "scores"}]}, 400, "outputs[0].name: expected one of label, score"),
    ({"outputs": [{"name": "score", "parameters": {"binary_data": True}}]}, 400, "binary form"),
])  # fmt: skip
def test_a_request_of_tensors_that_is_none_is_refused_in_the_protocols_shape(
    client: FlaskClient, engine: Engine, infer: str, change: dict[str, Any], status: int, said: str
) -> None:
    request: dict[str, Any] = {"inputs": tensors(engine)}
    age = request["inputs"][0]
    if "first" in change:
        age["data"][0] = change["first"]
    for name, value in change.items():
        of = request if name in ("inputs", "outputs") else age
        of[name] = value
        if value is ...:
            del of[name]
    answer = client.post(infer, json=request)
    assert answer.json and answer.json.keys() == {"error"}
    assert (answer.status_code, said in answer.json["error"]) == (status, True), answer.text


@pytest.mark.parametrize("body, said", [
    (b"", "truncated"),
    (b"[]", 'expected {"inputs": [...]}, got an array'),
    (b'{"inputs": [{"name": "age", "shape": [1], "datatype": "INT64", "data": [NaN]}]}', "NaN"),
    (b'{"more": ' + b"[" * 100_000, "nested too deeply"),
    (
        b'{"inputs": [{"name": "age", "shape": [1], "datatype": "INT64", '
        b'"parameters": {"binary_data_size": 8}}]}\x07\0\0\0\0\0\0\0',
        "binary form",
    ),
])  # fmt: skip
def test_a_body_that_is_none(client: FlaskClient, infer: str, body: bytes, said: str) -> None:
    answer = client.post(infer, data=body, content_type="application/json")
    assert answer.json and answer.status_code == 400
    assert said in answer.json["error"]


def test_other_models_and_kinds_of_body_are_refused(
    client: FlaskClient, engine: Engine, infer: str
) -> None:
    for path in ("/v1/models/x:predict", "/v2/models/x/infer", f"{infer}/versions/x/infer"):
        answer = client.post(path, json={})
        assert answer.status_code == 404
        assert answer.json and answer.json.keys() == {"error"}
        assert engine.manifest.name in answer.json["error"]
    for path in [infer, *paths(engine)]:
        answer = client.post(path, data=b"1,2", content_type="application/octet-stream")
        assert answer.status_code == 415
        assert answer.json and "send Content-Type: application/json" in answer.json["error"]


def test_a_refusal_says_when_to_come_back(
    client: FlaskClient, engine: Engine, infer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.batcher, "expected_wait", lambda: 2.5)
    for path in [infer, *paths(engine)]:
        answer = client.post(path, data=b"not even JSON")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")


def test_two_platforms_may_name_the_same_routes(
    trained: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/ping")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/predict")
    client = create_app(Settings(artifact_dir=trained, protocols=ALL), toy.predict).test_client()
    assert client.get("/ping").status_code == 503
    assert client.get("/predict").status_code == 405


def numbers(count: int) -> Schema:
    item = Input(name="x", type="float", dtype="float64", nullable=True)
    columns = [msgspec.structs.replace(item, name=f"x{i}") for i in range(count)]
    return Schema(columns, max_instances=10)


def test_a_model_of_numbers_takes_one_tensor_for_all_its_inputs() -> None:
    schema = Tensors(numbers(3), [Output(name="y", type="float")])
    tensor = {"name": "all", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5.5, None]}
    nested = tensor | {"data": [[1, 2, 3], [4, 5.5, None]]}
    for form in (tensor, nested):
        rows = schema.decode(json.dumps({"inputs": [form]}).encode())
        assert list(rows) == [(1, 2, 3), (4, 5.5, None)]
    with pytest.raises(RequestError, match="no such input"):
        schema.decode(json.dumps({"inputs": [tensor | {"shape": [3, 2]}]}).encode())


def test_inputs_that_may_be_missing_may_be_left_out() -> None:
    schema = Tensors(numbers(2), [Output(name="y", type="float")])
    tensor = {"name": "x1", "shape": [2], "datatype": "FP64", "data": [1.5, None]}
    assert list(schema.decode(json.dumps({"inputs": [tensor]}).encode())) == [
        (None, 1.5),
        (None, None),
    ]


def test_lists_are_a_matrix_and_objects_text() -> None:
    fields = [
        Output(name="odds", type="list", items="float"),
        Output(name="why", type="object", items="int", nullable=True),
    ]
    tensors = Tensors(numbers(1), fields)
    answers: list[dict[str, Any]] = [{"odds": [0.5, 0.5], "why": {"a": 1}}]
    answers.append({"odds": [0.25, 0.75], "why": None})
    assert tensors.answer(fields, answers) == [
        {"name": "odds", "shape": [2, 2], "datatype": "FP64", "data": [0.5, 0.5, 0.25, 0.75]},
        {"name": "why", "shape": [2], "datatype": "BYTES", "data": ['{"a":1}', None]},
    ]
    with pytest.raises(RequestError, match="differ in length"):
        tensors.answer(fields, [*answers, {"odds": [1.0], "why": None}])


def test_the_platform_says_where_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    def port(protocols: str) -> int:
        return on_platform(Settings.from_env({"PROTOCOLS": protocols, "PORT": "1"})).port

    assert [port(name) for name in ("v2", "sagemaker", "vertex")] == [1, 8080, 8080]
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "2")
    monkeypatch.setenv("AIP_HTTP_PORT", "3")
    assert [port(name) for name in ("v2", "sagemaker", "vertex")] == [1, 2, 3]
    monkeypatch.setenv("AIP_HTTP_PORT", "x")
    with pytest.raises(Refusal, match="AIP_HTTP_PORT='x': expected a whole number"):
        port("vertex")
    with pytest.raises(Refusal, match="PROTOCOLS='v3': expected some of kserve-v1, v2"):
        port("v3")
