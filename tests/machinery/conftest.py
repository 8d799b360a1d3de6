"""Tests of a service's machinery, which its owner neither edits nor runs: `make machinery`.

They run in the environment of a generated service, from its folder: `service`, `training` and
`tools` are those of the service. The model is that of toy.py, which has every kind of input.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs
from cluster import KUBECTL, Cluster, put
from flask import Flask
from flask.testing import FlaskClient
from forge import Forge
from player import Player

import toy
from service.app import create_app
from service.artifact import runtime_versions
from service.engine import Engine
from service.settings import Settings
from tools.deploy.commit import BRANCHES
from tools.deploy.service import ROOT
from tools.submit import request
from training import package as packaging
from training.serving import Served


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=12, help="of a training, with each kind of store")


@pytest.fixture(scope="session", autouse=True)
def not_served() -> Iterator[None]:
    """Another process would serve model.py, not the toy; ../test_boot.py has real trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packaging, "_serve", lambda manifest, model: Served(runtime_versions(), 0, 0))
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's artifact; read-only: tests that change it work on `artifact_dir`."""
    folder = tmp_path_factory.mktemp("toy") / "artifact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "user", toy)
        runs.train(folder)
    return folder


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The toy in model.py's place; set attributes of `toy` to change it."""
    monkeypatch.setattr(runs, "user", toy)
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


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Player:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for name in request.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return Player(tmp_path)


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "clients.txt"
    path.write_text("acme\nglobex\n\ninitech\n")
    monkeypatch.setenv("DATASETS", str(path))
    return path


@pytest.fixture
def overlays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The overlays of a service in git, of which a test may release to one."""
    folder = tmp_path / "service"
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    for module in ("release.ROOT", "service.ROOT", "rollout.ROOT", "commit.ROOT"):
        monkeypatch.setattr(f"tools.deploy.{module}", folder)
    monkeypatch.setattr("tools.deploy.release.OVERLAYS", folder / "k8s" / "overlays")
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder / "k8s" / "overlays"


@pytest.fixture
def cluster(tmp_path: Path, overlays: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    put("1-abc")
    yield Cluster(tmp_path)


@pytest.fixture
def forge(overlays: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """A CI job: on no branch, and with a git that knows nobody."""
    for name in BRANCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(overlays.parents[2]))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GITHUB_REF_NAME", "main")
    put("1-a")
    return Forge(overlays.parents[1])


@pytest.fixture
def call(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment that `python -m tools.deploy` gets from make."""
    monkeypatch.setenv("ENV", "staging")
    monkeypatch.setenv("ON_FAILURE", "rollback")
    return monkeypatch
