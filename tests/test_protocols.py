"""Contracts of other platforms, as their own clients see a running service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import requests
from dogstatsd import Receiver
from harness import PYTHON, ROOT, Service, free_port, manifest, serve, start_refused
from kinds import Kind

CLIENTS = ROOT / "build" / "clients" / "bin" / "python"
# What Vertex AI's front end takes for an answer to two instances.
VERTEX_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["predictions"],
    "properties": {"predictions": {"type": "array", "minItems": 2, "maxItems": 2}},
}


@pytest.fixture(scope="module", params=["default", "mixed"])
def spoken(
    request: pytest.FixtureRequest, baked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service with columns of floats only, and one with columns of all kinds."""
    folder = baked
    if request.param == "mixed":
        folder = Kind("mixed").trained(baked, tmp_path_factory.mktemp("mixed"))
    with serve(folder, PROTOCOLS="kserve-v1,v2") as service:
        yield service


def ask_by(client: str, service: Service, instances: list[dict[str, Any]]) -> Any:
    name = manifest(service.folder)["name"]
    command = [CLIENTS, ROOT / "tests" / "protocol_clients.py", client, service.url, name]
    done = subprocess.run(command, input=json.dumps(instances), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def whole(service: Service) -> list[dict[str, Any]]:
    """Return real instances without gaps, for which numpy has no dtype."""
    golden = manifest(service.folder)["golden"]["instances"]
    return [instance for instance in golden if None not in instance.values()][:5]


def columns(answers: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [answer[name] for answer in answers] for name in answers[0]}


def test_kserves_client_is_answered_as_predict_is(spoken: Service) -> None:
    instances = whole(spoken)
    right = spoken.predict(instances)
    found = ask_by("kserve", spoken, instances)
    assert found["v1"] == {"predictions": right}
    assert found["v2"] == columns(right)
    known = manifest(spoken.folder)
    assert found["id"] == "asked-1"
    assert found["ready"] == [True] * 4
    assert [one["name"] for one in found["metadata"]["inputs"]] == [*instances[0]]
    field, *unknown, binary = found["refused"]
    assert field.startswith("400 invalid request body: instances[0].")
    assert all(said.startswith("404 Not Found: POST /v") for said in unknown)
    assert all(f"the model here is {known['name']}" in said for said in unknown)
    assert binary.startswith("415 send Content-Type: application/json")


def test_mlservers_codecs_make_requests_and_read_answers(spoken: Service) -> None:
    instances = whole(spoken)
    right = columns(spoken.predict(instances))
    found = ask_by("mlserver", spoken, instances)
    assert all(answer == right for answer in found.values())
    assert len(found) == (2 if "radius" in str(instances[0]) else 1)


def test_sagemaker_starts_an_image_by_serve_and_pings_it(baked: Path) -> None:
    port = free_port()
    settings = {"PROTOCOLS": "sagemaker", "SAGEMAKER_BIND_TO_PORT": port}
    with Receiver() as metrics:
        settings["DD_DOGSTATSD_URL"] = metrics.url
        with serve(baked, PYTHON, "serve", **settings) as service:
            for _ in range(3):
                ping = requests.get(f"{service.url}/ping", timeout=2)
                assert (ping.status_code, ping.content) == (200, b"")
            attributes = {"X-Amzn-SageMaker-Custom-Attributes": "a=1", "Accept": "*/*"}
            answer = requests.post(
                f"{service.url}/invocations",
                service.body,
                headers={"Content-Type": "application/json"} | attributes,
                timeout=30,
            )
            assert answer.json() == service.post(service.body).json()
            csv = {"Content-Type": "text/csv"}
            refused = requests.post(f"{service.url}/invocations", "1,2", headers=csv, timeout=30)
            assert refused.status_code == 415
            assert "text/csv" in refused.json()["error"]
            metrics.wait(lambda: metrics.total("inference.requests", route="/invocations") == 2)
            assert metrics.total("inference.requests", route="/ping") == 0


def test_vertex_says_where_it_asks(baked: Path) -> None:
    model = "/v1/endpoints/123/deployedModels/456"
    settings = {"AIP_HTTP_PORT": free_port(), "AIP_HEALTH_ROUTE": model}
    settings["AIP_PREDICT_ROUTE"] = f"{model}:predict"
    with serve(baked, PROTOCOLS="vertex", **settings) as service:
        assert requests.get(service.url + model, timeout=10).status_code == 200
        body: dict[str, Any] = {"instances": [service.instance] * 2, "parameters": {}}
        answer = requests.post(f"{service.url}{model}:predict", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        jsonschema_rs.Draft202012Validator(VERTEX_ANSWER).validate(answer.json())
        assert answer.json()["predictions"] == service.predict(body["instances"])
        late = {"X-Request-Timeout-Ms": "0"}
        refused = requests.post(
            f"{service.url}{model}:predict", json=body, headers=late, timeout=30
        )
        assert refused.status_code == 400


def test_off_unless_named(live: Service) -> None:
    name = manifest(live.folder)["name"]
    for path in ("/v1/models", f"/v1/models/{name}", "/v2", "/v2/health/ready", "/ping"):
        assert requests.get(live.url + path, timeout=10).status_code == 404
    for path in (f"/v1/models/{name}:predict", f"/v2/models/{name}/infer", "/invocations"):
        assert requests.post(live.url + path, timeout=10).status_code == 404


def test_an_unknown_contract_refuses_the_start(baked: Path) -> None:
    line = start_refused(baked, PROTOCOLS="v2,grpc")
    assert line.endswith(
        "PROTOCOLS='v2,grpc': expected some of kserve-v1, v2, sagemaker, vertex, "
        "separated by commas"
    )
    line = start_refused(baked, PROTOCOLS="vertex", AIP_PREDICT_ROUTE="predict")
    assert "AIP_PREDICT_ROUTE='predict': expected a path" in line
