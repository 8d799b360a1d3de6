"""make push and REUSE, with a docker and an aws that play what an engine and a cloud would say.

That docker's own engine is not to be had; podman and a registry are real in the template's tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pipeline import naming
from player import Player

from tools.deploy import image, registry, release, retrain, tags
from tools.deploy.service import REPOSITORY, ROOT, DeployError

DIGEST = f"sha256:{'5e' * 32}"
HOST = REPOSITORY.partition("/")[0]
PUSHED = f"latest: digest: {DIGEST} size: 1\n"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service in git, with an artifact."""
    folder = tmp_path / "service"
    (folder / "artifact").mkdir(parents=True)
    shutil.copy(ROOT / "artifact" / "manifest.json", folder / "artifact")
    for name in (".gitignore", "model.py"):
        shutil.copy(ROOT / name, folder)
    for module in ("service", "tags", "builder", "image", "retrain"):
        monkeypatch.setattr(f"tools.deploy.{module}.ROOT", folder)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.com"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "test"]):
        subprocess.run([*git, *words], check=True)
    for name in ("REGISTRY_USER", "REGISTRY_PASSWORD", "REUSE", "STORE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def docker(player: Player) -> Player:
    """An engine that has all images, and a registry that has none."""
    player.plays(
        info=["Server Version: 28"],
        inspect=["[]"],
        login=["Login Succeeded"],
        buildx=["!not found"],
        push=[PUSHED],
        pull=["!manifest unknown"],
    )
    return player


def words(player: Player, first: str) -> list[list[str]]:
    return [call for call, _ in player.calls(first)]


def test_pushes_the_image_and_those_of_its_commit(
    docker: Player, service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_USER", "ci")
    monkeypatch.setenv("REGISTRY_PASSWORD", "secret")
    image.push()
    tag = tags.serve(tags.manifest())
    assert (service / "report" / "image.txt").read_text() == f"{tag}@{DIGEST}\n"
    names = [f"base-{tags.commit()}-py3.11", f"train-{tags.commit()}", tag]
    assert words(docker, "push") == [["push", f"{REPOSITORY}:{name}"] for name in names]
    ((login, given),) = docker.calls("login")
    assert login == ["login", "--username", "ci", "--password-stdin", HOST] and given == "secret"


def test_what_is_there_stays_as_it_is(docker: Player, service: Path) -> None:
    docker.plays(info=[""], inspect=["[]"], buildx=[f"{DIGEST}\n"])
    image.push()
    assert f"@{DIGEST}\n" in (service / "report" / "image.txt").read_text()
    assert words(docker, "push") == words(docker, "login") == []


def test_nothing_is_handed_on_if_production_runs_it(
    docker: Player, service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "k8s", service / "k8s")
    monkeypatch.setattr(release, "OVERLAYS", service / "k8s" / "overlays")
    tag = f"{tags.serve(tags.manifest())}@{DIGEST}"
    release.write("production", release.render("production", tag))
    image.push()
    assert (service / "report" / "image.txt").read_text() == ""
    release.write("production", release.render("production", "an-older"))
    image.push()
    assert (service / "report" / "image.txt").read_text() == f"{tag}\n"


def test_the_tag_of_edited_code_is_pushed_alone_and_always(docker: Player, service: Path) -> None:
    (service / "model.py").write_text("# edited\n")
    docker.plays(info=[""], inspect=["[]"], buildx=[DIGEST], push=[PUSHED])
    image.push()
    ((_, name),) = words(docker, "push")
    assert name.endswith("-dirty")


def test_what_is_wrong_is_said_in_a_line(
    docker: Player, service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.plays(info=[""], inspect=["!no such image"])
    with pytest.raises(DeployError, match=f"{tags.commit()} is not here: make image"):
        image.push()
    docker.plays(info=[""], inspect=["[]"], login=["!denied: wrong password"])
    monkeypatch.setenv("REGISTRY_USER", "ci")
    with pytest.raises(DeployError, match="REGISTRY_PASSWORD go together: set both or none"):
        image.push()
    monkeypatch.setenv("REGISTRY_PASSWORD", "secret")
    with pytest.raises(DeployError, match="docker login: denied: wrong password"):
        image.push()
    shutil.rmtree(service / "artifact")
    with pytest.raises(DeployError, match="there is no artifact: make train"):
        image.push()


@pytest.mark.parametrize("user", ["", "somebody"])
def test_at_aws_the_cloud_s_identity_logs_in(
    player: Player, service: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    player.plays(ecr=["a token"], login=["Login Succeeded"])
    if user:
        monkeypatch.setenv("REGISTRY_USER", user)
        monkeypatch.setenv("REGISTRY_PASSWORD", "of another registry")
    host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    registry.log_in("docker", host)
    assert words(player, "ecr") == [["ecr", "get-login-password", "--region", "eu-central-1"]]
    ((login, given),) = player.calls("login")
    assert login == ["login", "--username", "AWS", "--password-stdin", host]
    assert given == "a token"


def test_takes_what_was_pushed_if_asked_to(
    docker: Player,
    service: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not registry.take("docker", "base-1")
    assert not (docker.folder / "calls").exists()
    monkeypatch.setenv("REUSE", "1")
    assert not registry.take("docker", "base-1")
    assert "base-1 is built here: docker pull: manifest unknown\n" in capsys.readouterr().out
    docker.plays(pull=["Digest: 1"])
    assert registry.take("docker", "base-1")
    assert words(docker, "pull")[-1] == ["pull", f"{REPOSITORY}:base-1"]
    (service / "model.py").write_text("# edited\n")
    assert not registry.take("docker", "base-1")


def test_a_training_is_told_what_to_train_on_and_where_to_keep_it(
    service: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(retrain.CLOUDS)]:
        monkeypatch.delenv(name)
    (tmp_path / "token").touch()
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("DATA", str(tmp_path))
    monkeypatch.setenv("CI_PIPELINE_ID", "7")
    monkeypatch.setenv("REGISTRY_PASSWORD", "secret")
    told = retrain._told()
    assert {"--env=DATA", "--env=CI_PIPELINE_ID", f"--volume={tmp_path}:{tmp_path}:ro"} <= {*told}
    assert f"--volume={tmp_path}/token:{tmp_path}/token:ro" in told
    assert not any("REGISTRY" in word for word in told)
    assert retrain._store() == []
    monkeypatch.setenv("STORE", "s3://bucket/models")
    assert retrain._store() == ["--env=STORE"]
    monkeypatch.setenv("STORE", "kept")
    folder = service / "kept"
    assert retrain._store() == [f"--env=STORE={folder}", f"--volume={folder}:{folder}"]
    assert folder.is_dir()


def test_what_is_said_twice_is_said_alike() -> None:
    names = {name for name in naming.NAMES if not name.startswith(retrain.CLOUDS)}
    assert names <= retrain.PASSED
    dockerfile, makefile = ((ROOT / name).read_text() for name in ("Dockerfile", "Makefile"))
    assert re.findall(r"^ARG PYTHON=(.*)$", dockerfile, re.M) == [tags.PYTHON]
    assert f"--python-version {tags.PYTHON} " in makefile
