"""Tests of a service's machinery, which its owner neither edits nor runs: `make machinery`.

They run in the environment of a generated service, from its folder: `service`, `training` and
`tools` are those of the service. The model is that of toy.py, which has every kind of input.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import toy
from service.app import create_app
from service.artifact import runtime_versions
from service.engine import Engine
from service.settings import Settings
from training import __main__ as training
from training import package as packaging


@pytest.fixture(scope="session", autouse=True)
def not_served() -> Iterator[None]:
    """Another process would serve model.py, not the toy; ../test_boot.py has real trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packaging, "_serve", lambda manifest, model: runtime_versions())
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's artifact; read-only: tests that change it work on `artifact_dir`."""
    folder = tmp_path_factory.mktemp("toy") / "artifact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "user", toy)
        training.train(folder)
    return folder


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The toy in model.py's place; set attributes of `toy` to change it."""
    monkeypatch.setattr(training, "user", toy)
    return monkeypatch


@pytest.fixture
def artifact_dir(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "artifact"))


@pytest.fixture(scope="module")
def app(trained: Path) -> Iterator[Flask]:
    app = create_app(Settings(artifact_dir=trained), toy.predict)
    engine: Engine = app.extensions["engine"]
    engine.start()
    yield app
    engine.batcher.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def engine(app: Flask) -> Engine:
    engine: Engine = app.extensions["engine"]
    return engine
