from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests import toy
from training import __main__ as training


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's artifact; read-only: tests that change it work on `artifact_dir`."""
    folder = tmp_path_factory.mktemp("toy") / "artifact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "user", toy)
        training.train(folder)
    return folder


@pytest.fixture
def artifact_dir(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "artifact"))


@pytest.fixture(scope="module")
def app(trained: Path) -> Iterator[Flask]:
    settings = Settings(artifact_dir=trained, max_body_bytes=20_000, max_instances=100)
    app = create_app(settings, toy.predict)
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
