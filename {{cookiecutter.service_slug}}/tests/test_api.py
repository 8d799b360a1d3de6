"""The HTTP API, by example: what a client sends and what it gets, whatever the model is.

The service runs as it will in production; the rows are the artifact's golden instances.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import validate

from service.artifact import Manifest
from tests.conftest import MAX_INSTANCES, Answer, Api, near

Instances = list[dict[str, Any]]


def predictions(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["predictions"]
    return found


def refused(answer: Answer, status: int) -> Any:
    """Check that an answer is an error as all errors are; return its body."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json.keys() == {"error", "details", "request_id"}
    assert answer.json["error"] and "\n" not in answer.json["error"]
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    return answer.json


# --- POST /predict: the answers


def test_each_instance_gets_its_prediction_in_order(
    api: Api, manifest: Manifest, instances: Instances
) -> None:
    answer = api.predict({"instances": instances})
    assert predictions(answer) == near(manifest.golden.predictions)
    backwards = api.predict({"instances": instances[::-1]})
    assert predictions(backwards) == near(manifest.golden.predictions[::-1])


def test_an_instance_is_an_object_by_name_or_an_array_in_the_models_order(
    api: Api, manifest: Manifest, instances: Instances
) -> None:
    order = [item.name for item in manifest.inputs]
    arrays = [[instance[name] for name in order] for instance in instances]
    mixed = [instances[0], *arrays[1:]]
    assert predictions(api.predict({"instances": mixed})) == near(manifest.golden.predictions)


def test_fields_that_may_be_null_may_be_left_out(
    api: Api, manifest: Manifest, instances: Instances
) -> None:
    nullable = {item.name for item in manifest.inputs if item.nullable}
    null = [instance | dict.fromkeys(nullable) for instance in instances]
    absent = [{k: v for k, v in instance.items() if k not in nullable} for instance in instances]
    one, other = (api.predict({"instances": rows}) for rows in (null, absent))
    # A model may refuse rows with so little in them, but then it refuses both.
    assert one.status == other.status
    if one.status == 200:
        assert predictions(other) == near(predictions(one))


@pytest.mark.parametrize("parameters", [{}, None])
def test_parameters_may_be_there_but_must_be_empty(
    api: Api, instances: Instances, parameters: Any
) -> None:
    assert predictions(api.predict({"instances": instances, "parameters": parameters}))
    body = refused(api.predict({"instances": instances, "parameters": {"x": 1}}), 400)
    assert body["details"] == [{"path": "parameters.x", "message": "unknown field"}]


def test_headers_say_who_answered_and_what_took_how_long(
    api: Api, manifest: Manifest, instances: Instances
) -> None:
    headers = api.predict({"instances": instances}).headers
    assert headers["X-Model-Version"] == manifest.version
    assert len(headers["X-Request-Id"]) == 32
    stages = dict(part.split(";dur=") for part in headers["Server-Timing"].split(", "))
    assert list(stages) == ["decode", "queue", "inference", "encode"]
    assert all(float(milliseconds) >= 0 for milliseconds in stages.values())


def test_a_body_may_come_in_chunks_and_its_type_with_a_charset(
    api: Api, manifest: Manifest, instances: Instances
) -> None:
    body = json.dumps({"instances": instances}).encode()
    chunks = iter([body[:100], body[100:]])
    answer = api.predict(chunks, Content_Type="application/json; charset=utf-8")
    assert predictions(answer) == near(manifest.golden.predictions)


# --- POST /predict: the errors, each with the place that is wrong


def test_a_wrong_value_is_named_by_instance_and_field(
    api: Api, manifest: Manifest, instances: Instances
) -> None:
    last = manifest.inputs[-1]
    nouns = {
        "float": "a number",
        "int": "a whole number",
        "bool": "true or false",
        "string": "a string",
        "datetime": "a date and time",
    }
    wanted = nouns[last.type] + (" or null" if last.nullable else "")
    message = f"expected {wanted}, got an object"

    body = refused(api.predict({"instances": [instances[0], instances[1] | {last.name: {}}]}), 400)
    assert body["details"] == [{"path": f"instances[1].{last.name}", "message": message}]
    assert body["error"] == f"invalid request body: instances[1].{last.name}: {message}"

    array = [*list(instances[0].values())[:-1], {}]
    body = refused(api.predict({"instances": [array]}), 400)
    place = f"instances[0][{len(array) - 1}]"
    assert body["details"] == [{"path": place, "message": message}]


def test_missing_unknown_and_duplicate_fields_are_named(
    api: Api, manifest: Manifest, instances: Instances
) -> None:
    def details(content: Any) -> Any:
        return refused(api.predict(content), 400)["details"]

    first = manifest.inputs[0].name
    unknown = {"instances": [instances[0] | {"no such field": 1}]}
    assert details(unknown) == [{"path": "instances[0].no such field", "message": "unknown field"}]
    assert details({"instances": instances, "extra": 1}) == [
        {"path": "extra", "message": "unknown field"}
    ]
    alone = {"path": "instances", "message": 'missing: send {"instances": [...]}'}
    assert details({}) == details(instances[0]) == [alone]
    again = f"[{{{json.dumps(first)}: {json.dumps(instances[0][first])}, "
    twice = json.dumps({"instances": instances}).replace("[{", again, 1)
    assert details(twice.encode()) == [
        {"path": f"instances[0].{first}", "message": "duplicate key"}
    ]
    required = [item.name for item in manifest.inputs if not item.nullable]
    for name in required[:1]:
        without = {key: value for key, value in instances[0].items() if key != name}
        assert details({"instances": [without]}) == [
            {"path": f"instances[0].{name}", "message": "missing"}
        ]


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"{", {}, 400, "invalid request body: "),
        (b'{"instances": []}', {}, 400, "instances: expected at least one instance"),
        (b'{"instances": [[NaN]]}', {}, 400, "NaN is not a JSON number"),
        (b"{}", {"Content_Type": "text/plain"}, 415, "send Content-Type: application/json, not t"),
        (b"{}", {"Content_Type": ""}, 415, "send Content-Type: application/json, not nothing"),
        (b"{}", {"Content_Encoding": "br"}, 415, "send Content-Encoding: gzip, or none, not br"),
        (b"{}", {"Content_Encoding": "gzip"}, 400, "the body is not gzip"),
        (b" " * (1024 * 1024 + 1), {}, 413, "the body is larger than 1048576 bytes"),
        (b"{}", {"X_Request_Timeout_Ms": "0"}, 400, "X-Request-Timeout-Ms: expected a whole"),
    ],
)
def test_what_is_no_request(
    api: Api, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    assert message in refused(api.predict(body, **headers), status)["error"]


def test_too_many_instances(api: Api, instances: Instances) -> None:
    many = [instances[0]] * MAX_INSTANCES
    assert len(predictions(api.predict({"instances": many}))) == MAX_INSTANCES
    error = refused(api.predict({"instances": [*many, instances[0]]}), 413)["error"]
    assert error == f"at most {MAX_INSTANCES} instances in one request"


# --- POST /feedback: the truth that comes later


def test_what_was_predicted_is_sent_back_with_its_truth(
    api: Api, manifest: Manifest, instances: Instances
) -> None:
    answer = api.predict({"instances": instances})
    firsts = [next(iter(row.values())) for row in predictions(answer)]
    index, said = next((i, first) for i, first in enumerate(firsts) if first is not None)
    said = None if isinstance(said, list | dict) else said  # which no truth is compared with
    item = {
        "request_id": answer.headers["X-Request-Id"],
        "index": index,
        "version": answer.headers["X-Model-Version"],
        "prediction": said,
        "truth": said,
    }
    answer = api.feedback({"feedback": [item]})
    assert (answer.status, answer.json) == (200, {"accepted": 1})
    body = refused(api.feedback({"feedback": [item | {"index": "0"}]}), 400)
    wrong = {"path": "feedback[0].index", "message": "expected a whole number, got a string"}
    assert body["details"] == [wrong]
    refused(api.feedback({"feedback": [item] * (MAX_INSTANCES + 1)}), 413)


# --- every route


@pytest.mark.parametrize("path", ["/predict", "/nowhere", "/healthz", "/"])
def test_a_request_id_comes_back(api: Api, path: str) -> None:
    for given in ("my-id_1/2:3", "x" * 128):
        assert api.get(path, X_Request_Id=given).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "tab\there", "é"])
def test_an_unusable_request_id_is_replaced(api: Api, instances: Instances, given: str) -> None:
    for answer in (
        api.predict({"instances": instances}, X_Request_Id=given),
        api.get("/metadata", X_Request_Id=given),
    ):
        assert answer.status == 200
        found = answer.headers["X-Request-Id"]
        assert found != given and len(found) == 32


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", {"POST", "OPTIONS"}),
        ("DELETE", "/predict", {"POST", "OPTIONS"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", "/", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_other_methods(api: Api, method: str, path: str, allowed: set[str]) -> None:
    answer = api.ask(method, path)
    refused(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/nowhere", "/predict/", "/docs/missing.js", "/docs/../app.py"])
def test_other_routes(api: Api, path: str) -> None:
    assert refused(api.get(path + "?a=1"), 404)["error"].startswith("Not Found: GET /")


def test_slashes_at_the_start_count_as_one(api: Api, instances: Instances) -> None:
    body = json.dumps({"instances": instances}).encode()
    answer = api.ask("POST", "//predict", body, Content_Type="application/json")
    assert len(predictions(answer)) == len(instances)
    assert api.get("//healthz").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/metadata", "/", "/docs/", "/nowhere", "/predict"])
def test_no_answer_is_taken_for_another_type_or_names_the_server(api: Api, path: str) -> None:
    for answer in (api.get(path), api.predict({})):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in answer.headers


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health(api: Api, path: str) -> None:
    assert (api.get(path).status, api.get(path).json) == (200, {"status": "ok"})


def test_metadata_is_the_manifest_without_golden_data(api: Api, manifest: Manifest) -> None:
    metadata = api.get("/metadata").json
    assert (metadata["name"], metadata["version"]) == (manifest.name, manifest.version)
    assert [item["name"] for item in metadata["inputs"]] == [x.name for x in manifest.inputs]
    assert "golden" not in metadata


def test_the_openapi_document_is_valid_and_its_example_works(api: Api, manifest: Manifest) -> None:
    document = api.get("/openapi.json").json
    validate(document)
    operation = document["paths"]["/predict"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    answer = api.predict(example)
    # The example is made up, since real rows are private; a model may refuse it.
    assert answer.status == 200 or b"the model cannot answer this" in answer.body
    operation = document["paths"]["/feedback"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert api.feedback(example).status == 200


def test_the_openapi_document_says_what_goes_in_and_comes_out(api: Api, manifest: Manifest) -> None:
    schemas = api.get("/openapi.json").json["components"]["schemas"]
    assert list(schemas["Instance"]["properties"]) == [item.name for item in manifest.inputs]
    assert list(schemas["Prediction"]["properties"]) == [x.name for x in manifest.outputs.fields]


def test_pages(api: Api) -> None:
    card = api.get("/")
    assert card.headers["Content-Type"].startswith("text/html") and b"data:image/" in card.body
    opens = api.get("/docs")  # with /predict ready to send
    assert (opens.status, opens.headers["Location"]) == (302, "docs/#/inference/predict")
    docs = api.get("/docs/")
    assert docs.headers["Content-Type"].startswith("text/html")
    for file in ("swagger-ui-bundle.js", "start.js", "swagger-ui.css"):
        assert f'"{file}"'.encode() in docs.body and api.get(f"/docs/{file}").status == 200
    for page in (card, docs):
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; " in policy
        assert "frame-ancestors 'none'" in policy and "//" not in policy
