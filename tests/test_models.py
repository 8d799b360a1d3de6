"""Models of every kind that people bring: trained, served, right, and stopped in time."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import requests
from harness import ROOT, Service, serve
from kinds import KINDS, Kind

GRACE_SECONDS = 10


@dataclass(frozen=True)
class Trained:
    """A service with a model of its kind; rows as a client sends them, and the right answers."""

    folder: Path
    instances: list[dict[str, Any]]
    answers: list[dict[str, Any]]


def trained(kind: Kind, baked: Path, into: Path) -> Trained:
    folder = kind.trained(baked, into)
    command = [kind.venv / "bin" / "python", ROOT / "tests" / "offline.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Trained(folder, *json.loads(done.stdout))


@pytest.fixture(scope="module")
def services(
    baked: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[Kind, Future[Trained]]]:
    """A service of each kind that was selected: trained side by side, while others are served."""
    selected: list[Any] = [
        item.callspec.params["kind"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            kind: pool.submit(trained, kind, baked, tmp_path_factory.mktemp(kind.name))
            for kind in dict.fromkeys(selected)
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_model_serves_what_it_predicts_offline(
    kind: Kind, services: dict[Kind, Future[Trained]]
) -> None:
    found = services[kind].result()
    python = kind.venv / "bin" / "python"
    with serve(found.folder, python, GRACEFUL_TIMEOUT_SECONDS=GRACE_SECONDS) as service:
        document = requests.get(f"{service.url}/openapi.json", timeout=30).json()
        check_answers(service, found.instances, found.answers)
        check_document(document, kind, found.instances, found.answers)
        check_feedback(service, document, found.answers)
        service.process.terminate()
        asked = time.monotonic()
        assert service.process.wait(2 * GRACE_SECONDS) == 0, service.logged
        assert time.monotonic() - asked < GRACE_SECONDS
        assert "Traceback" not in service.logged, service.logged


def check_answers(service: Service, instances: list[dict[str, Any]], expected: list[Any]) -> None:
    """The answers are right however the rows are sent."""
    answers = service.predict(instances)
    for instance, answer, right in zip(instances, answers, expected, strict=True):
        assert alike(answer, right), f"{instance}: {answer} instead of {right}"
    assert service.predict([list(instance.values()) for instance in instances]) == answers
    without_nulls = [{k: v for k, v in one.items() if v is not None} for one in instances]
    assert service.predict(without_nulls) == answers
    for instance, answer in list(zip(instances, answers, strict=True))[:3]:
        assert alike(service.predict([instance])[0], answer)


def check_document(
    document: dict[str, Any], kind: Kind, instances: list[Any], answers: list[Any]
) -> None:
    """OpenAPI states the types that the kind says, and real requests and answers are of them."""
    components = document["components"]
    for name, body in (
        ("PredictRequest", {"instances": instances}),
        ("PredictResponse", {"predictions": answers}),
    ):
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        jsonschema_rs.Draft202012Validator(schema).validate(body)
    inputs = components["schemas"]["Instance"]
    types = {name: type_of(one) for name, one in inputs["properties"].items()}
    wanted = kind.stated.get("INPUTS", {})
    assert {name: types[name] for name in wanted} == wanted
    optional = types.keys() - set(inputs["required"])
    assert optional == {name for name, one in types.items() if "null" in one}
    outputs = components["schemas"]["Prediction"]["properties"]
    assert {name: type_of(one) for name, one in outputs.items()} == kind.stated["OUTPUTS"]


def check_feedback(service: Service, document: dict[str, Any], answers: list[Any]) -> None:
    """What callers were told can be sent back, with a truth of its kind."""
    firsts = [next(iter(answer.values())) for answer in answers]
    said = [None if isinstance(first, list | dict) else first for first in firsts]
    known = next((first for first in said if first is not None), None)
    sent = [
        {"request_id": "a", "index": i, "version": document["info"]["version"]}
        | {"prediction": first, "truth": known if first is None else first}
        for i, first in enumerate(said)
    ]
    components = document["components"]
    schema = {"$ref": "#/components/schemas/FeedbackRequest", "components": components}
    jsonschema_rs.Draft202012Validator(schema).validate({"feedback": sent})
    answer = requests.post(f"{service.url}/feedback", json={"feedback": sent}, timeout=30)
    assert answer.json() == {"accepted": len(sent)}


def type_of(schema: dict[str, Any]) -> str:
    """Return a schema's type in words, such as "number or null" or "array of string"."""
    if "anyOf" in schema:
        return " or ".join(map(type_of, schema["anyOf"]))
    if isinstance(schema["type"], list):
        return " or ".join(type_of(schema | {"type": one}) for one in schema["type"])
    if schema["type"] == "array":
        return f"array of {type_of(schema['items'])}"
    if schema["type"] == "object":
        return f"object of {type_of(schema['additionalProperties'])}"
    return str(
        schema.get("format", schema["type"]) if schema["type"] == "string" else schema["type"]
    )


def alike(said: Any, right: Any) -> bool:
    """Tell whether two values of JSON are equal: numbers nearly, dates as moments."""
    if isinstance(right, dict):
        return said.keys() == right.keys() and all(alike(said[key], right[key]) for key in right)
    if isinstance(right, list):
        return len(said) == len(right) and all(map(alike, said, right))
    if isinstance(right, float) or isinstance(said, float):
        return math.isclose(said, right, rel_tol=1e-6, abs_tol=1e-6)
    return type(said) is type(right) and (said == right or moment(said) == moment(right))


def moment(text: Any) -> Any:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return text
    return found if found.tzinfo else found.replace(tzinfo=UTC)
