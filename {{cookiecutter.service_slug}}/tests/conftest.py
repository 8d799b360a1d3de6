"""Fixtures: this service's artifact, and the service itself, running."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

import model
from loadtests.serving import environment, serving
from service.app import create_app
from service.artifact import Manifest, load_model, read_manifest
from service.engine import Predictor
from service.schema import Schema, rows_of
from service.settings import Settings

ROOT = Path(__file__).parent.parent
ARTIFACT = ROOT / "artifact"
# Small, so that a test can exceed it with the rows that the artifact has.
MAX_INSTANCES = 40


def near(expected: Any) -> Any:
    """Equal, but for the last places of numbers: rows may be predicted in other company."""
    if isinstance(expected, dict):
        return {key: near(value) for key, value in expected.items()}
    if isinstance(expected, list):
        return [near(value) for value in expected]
    return pytest.approx(expected) if isinstance(expected, float) else expected


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Api:
    """A client of the running service."""

    address: str

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def predict(self, content: Any, **headers: str) -> Answer:
        """Post an object as JSON, bytes as they are, an iterator of bytes in chunks."""
        if isinstance(content, dict):
            content = json.dumps(content).encode()
        return self.ask(
            "POST", "/predict", content, **{"Content_Type": "application/json"} | headers
        )

    def feedback(self, content: dict[str, Any]) -> Answer:
        body = json.dumps(content).encode()
        return self.ask("POST", "/feedback", body, Content_Type="application/json")

    def ask(self, method: str, path: str, content: Any = None, **headers: str) -> Answer:
        """Headers are arguments, with _ for -."""
        connection = HTTPConnection(self.address, timeout=30)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, content, given)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    """The service as it will run: gunicorn, a worker, a socket."""
    settings = {"WEB_CONCURRENCY": "1", "MAX_INSTANCES": str(MAX_INSTANCES)}
    with serving(environment() | settings) as address:
        yield Api(urlsplit(address).netloc)


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return read_manifest(ARTIFACT)


@pytest.fixture(scope="session")
def instances(manifest: Manifest) -> list[dict[str, Any]]:
    """The golden instances: rows that training kept aside, as a client would send them."""
    return manifest.golden.instances


@pytest.fixture(scope="session")
def answer(manifest: Manifest) -> Callable[[list[Any]], list[Any]]:
    """The artifact's model and `predict` of model.py, without HTTP: instances in, answers out."""
    schema, fields = Schema(manifest.inputs, 1000), manifest.outputs.fields
    predict = Predictor(model.predict, load_model(ARTIFACT, manifest), schema, fields)
    return lambda instances: predict(rows_of(manifest.inputs, instances))


@pytest.fixture(scope="session")
def app() -> Flask:
    """The application in this process, not started: for its routes."""
    return create_app(Settings(artifact_dir=ARTIFACT), model.predict)
