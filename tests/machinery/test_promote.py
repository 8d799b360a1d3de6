"""What the store knows of releases, and by which names runs and models are found in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import models, naming, records
from pipeline.__main__ import main
from pipeline.exits import MISUSED
from pipeline.promote import promote, record
from pipeline.records import Run
from pipeline.show import show_lineage
from pipeline.store import Store, StoreMisused

from tools.deploy.service import ROOT

# Of a cluster that takes nothing.
KUBECTL = """#!/bin/sh
case "$3 $4" in
    apply*) exit 1;;
    "get replicasets") echo '{"items": []}';;
esac
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service in git, and a cluster that refuses whatever is deployed."""
    folder = tmp_path / "service"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns("runs", "report", "__pycache__"))
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


@pytest.fixture
def store(service: Path) -> Store:
    """The service's own store, with two models."""
    found = Store(str(service / "runs"))
    for version in ("1", "2"):
        models.write(found, version, f"run-{version}", {"code/model.py": b""})
    return found


def make(folder: Path, *words: str, exit_code: int = 0) -> str:
    command = ["make", "-C", str(folder), f"PYTHON={sys.executable}", f"VENV={sys.prefix}"]
    command += ["STORE=runs", "APPROVER=Ann", "ENV=staging", *words]
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    # There is nothing to install, and nobody is to be asked for it.
    env["PIP_NO_INDEX"] = "1"
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout


def commit(folder: Path) -> None:
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "release"], check=True)


def let_in(store: Store) -> list[tuple[str, str, str]]:
    found = records.deployments(store, "staging")
    return [(each.version, each.run, each.tag) for each in found]


def test_what_is_released_and_rolled_back_is_live(service: Path, store: Store) -> None:
    assert "staging no. 1: 1 of run run-1, by Ann" in make(service, "release", "TAG=1-a")
    commit(service)
    make(service, "release", "TAG=2-b")
    # Released, but not rolled out: the next `make deploy` brings it.
    make(service, "rollback", exit_code=2)
    back = [("1", "run-1", "1-a"), ("2", "run-2", "2-b"), ("1", "run-1", "1-a")]
    assert let_in(store) == back
    # Of a model that the store does not know, the release stands.
    assert "the store does not know of it" in make(service, "release", "TAG=3-c")
    assert let_in(store) == back


def test_a_digest_is_recorded(service: Path, store: Store) -> None:
    tag = f"1-a@sha256:{64 * '0'}"
    (service / "report").mkdir()
    (service / "report" / "image.txt").write_text(f"{tag}\n")
    assert "staging no. 1: 1 of run run-1, by Ann" in make(service, "release")
    assert let_in(store) == [("1", "run-1", tag)]
    assert "staging 1 " in " ".join(make(service, "show").split())
    # A make within make, which hands on what it was given, and runs none of it.
    for word in ("$(shell touch x)", "'; touch x; '", "`touch x`"):
        assert f"{word}: there is no such folder" in make(service, "release", f"STORE={word}")
    assert not list(service.rglob("x"))


def test_back_to_a_deployment_by_its_number(service: Path, store: Store) -> None:
    make(service, "release", "TAG=1-a")
    make(service, "release", "TAG=2-b")
    kubectl = service.parent / "kubectl"
    kubectl.write_text('#!/bin/sh\n[ "$3" != rollout ] || echo successfully rolled out\n')
    assert "staging no. 3: 1 of run run-1, by Ann" in make(service, "rollback", "NUMBER=1")
    make(service, "rollback", "NUMBER=9", exit_code=2)
    assert [version for version, _, _ in let_in(store)] == ["1", "2", "1"]


def test_what_a_deploy_brings_is_recorded(service: Path, store: Store) -> None:
    """Such as what `git revert` has left, or what comes back when a rollout fails."""
    make(service, "release", "TAG=1-a")
    commit(service)
    make(service, "release", "TAG=2-b")
    make(service, "deploy", "ON_FAILURE=rollback", exit_code=2)
    assert [version for version, _, _ in let_in(store)] == ["1", "2", "1"]
    make(service, "deploy", exit_code=2)
    assert len(let_in(store)) == 3


def test_a_release_needs_neither_packages_nor_the_store(service: Path) -> None:
    said = make(service, "release", "TAG=1-a", "VENV=nowhere")
    assert "released to staging: 1-a" in said
    assert "the store does not know of it" in said


def test_the_same_release_again_lets_nobody_in(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Such as with a candidate beside it, or after a rollback that did not come to release anything.
    monkeypatch.setattr("tools.deploy.release.released", lambda env: ["1-a", "2-b"])
    record(store, "staging")
    record(store, "staging")
    assert let_in(store) == [("1", "run-1", "1-a")]


def test_a_run_is_found_by_the_name_that_it_was_given(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.promote._release", lambda env, tag: None)
    monkeypatch.setenv("RUN", "week 3")
    name = naming.run_name(store, "code")
    store.put_record(f"runs/{name}/run.json", Run(name, "good", "", "", 1.0, "", version="1"))
    assert promote(store, "staging", "week 3", "").run == name == "week-3"


@pytest.mark.parametrize("value", [".", "ü", " ", "-", "x" * 201])
def test_names_that_no_folder_can_have(
    value: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUN", value)
    for call in (
        lambda: naming.run_name(store, "code"),
        lambda: promote(store, "staging", value, ""),
    ):
        with pytest.raises(StoreMisused, match=f"RUN={value}: expected letters, digits"):
            call()
    for version in ("", value):
        with pytest.raises(StoreMisused, match=f"VERSION={version}: expected letters, digits"):
            show_lineage(store, version)


@pytest.mark.parametrize("command", ["show", "lineage", "promote", "record"])
def test_a_store_that_is_misspelt_is_not_made(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "rusn"
    monkeypatch.setenv("STORE", str(folder))
    assert main(command) == MISUSED
    assert "rusn: there is no such folder; make train makes it" in capsys.readouterr().out
    assert not folder.exists()
