"""A service whose answers have a field of every type: what its pages and metrics say of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import numpy as np
import openapi_spec_validator
import pandas as pd
import pytest
import runs
from flask import Flask
from jsonschema import Draft202012Validator

import toy
from service.app import create_app
from service.drift import Drift
from service.engine import differing_field
from service.settings import Settings

ADVICE = "write to 12 Long Street, third floor, about what they owe since"
answer_of_toy = toy.predict


def everything(model: Any, frame: pd.DataFrame) -> Any:
    """Return an answer with a field of every type."""
    answer = answer_of_toy(model, frame)
    score = answer["score"]
    return answer | {
        "count": frame["age"],
        "sure": score > 0.5,
        "due": pd.Timestamp("2026-01-01") + pd.to_timedelta(frame["age"], unit="D"),
        "embedding": np.column_stack([score, score]),
        "tags": [["old"] if age > 50 else [] for age in frame["age"]],
        "shares": [{"leaves": 1 - share, "stays": share} for share in score],
        "income": frame["monthly income"],
        "advice": [f"{ADVICE} {age}" for age in frame["age"]],
    }


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The service of a model with such answers, running."""
    folder = tmp_path_factory.mktemp("rich")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "user", toy)
        patch.setattr(toy, "predict", everything)
        runs.train(folder)
    app = create_app(Settings(artifact_dir=folder), everything)
    app.extensions["engine"].start()
    yield app
    app.extensions["engine"].batcher.close()


def test_openapi_states_each_field_and_real_answers_are_of_it(rich: Flask) -> None:
    client, golden = rich.test_client(), rich.extensions["engine"].manifest.golden
    document = client.get("/openapi.json").json
    assert document is not None
    openapi_spec_validator.validate(document)
    found = document["components"]["schemas"]["Prediction"]
    number, string = {"type": "number"}, {"type": "string"}
    assert found["properties"] == {
        "label": string | {"enum": ["leaves", "stays"]},
        "score": number,
        "count": {"type": "integer"},
        "sure": {"type": "boolean"},
        "due": string | {"format": "date-time"},
        "embedding": {"type": "array", "items": number},
        "tags": {"type": "array", "items": string},
        "shares": {"type": "object", "additionalProperties": number},
        "income": {"anyOf": [number, {"type": "null"}]},
        "advice": string,
    }
    assert found["required"] == list(found["properties"])
    answer = client.post("/predict", json={"instances": golden.instances}).json
    assert answer is not None
    response = document["paths"]["/predict"]["post"]["responses"]["200"]
    example = response["content"]["application/json"]["example"]
    schema = {"$ref": "#/components/schemas/PredictResponse", "components": document["components"]}
    for body in (answer, example):
        Draft202012Validator(schema).validate(body)
    for one, other in zip(answer["predictions"], golden.predictions, strict=True):
        assert differing_field(one, other) is None


def test_the_example_is_made_up_and_works(rich: Flask) -> None:
    client = rich.test_client()
    document = client.get("/openapi.json").json
    assert document is not None
    operation = document["paths"]["/predict"]["post"]
    [request, answer] = (
        place["content"]["application/json"]["example"]
        for place in (operation["requestBody"], operation["responses"]["200"])
    )
    golden = rich.extensions["engine"].manifest.golden
    assert not any(instance in golden.instances for instance in request["instances"])
    assert client.post("/predict", json=request).status_code == 200
    [said] = answer["predictions"]
    assert (said["label"], said["sure"], said["advice"]) == ("leaves", True, "text")
    assert 0 < said["score"] < 1 and 18 <= said["count"] <= 90


def test_free_text_in_answers_is_on_no_page(rich: Flask) -> None:
    client = rich.test_client()
    manifest = rich.extensions["engine"].manifest
    assert [field.name for field in manifest.outputs.fields if not field.public] == ["advice"]
    assert set(manifest.baseline.outputs) == {"label", "score", "count", "sure", "income"}
    for page in ("/", "/metadata", "/openapi.json"):
        assert "Long Street" not in client.get(page).text


def test_drift_watches_classes_and_fractions_and_leaves_out_the_rest(rich: Flask) -> None:
    manifest = rich.extensions["engine"].manifest
    metrics = Mock()
    rows = [tuple(instance.values()) for instance in manifest.golden.instances]
    Drift(manifest, metrics).call(rows, manifest.golden.predictions)
    incomes = [answer["income"] for answer in manifest.golden.predictions]
    assert None in incomes
    observed = [call.args for call in metrics.observe.call_args_list]
    assert {field for _, _, field in observed} == {"field:score", "field:income"}
    assert len([1 for *_, field in observed if field == "field:income"]) == len(
        [income for income in incomes if income is not None]
    )
