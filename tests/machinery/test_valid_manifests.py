"""make manifests: what it finds, and what it passes over."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tools import manifests
from tools.deploy.release import OVERLAYS


@pytest.fixture
def overlays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Those of a service, for a test to change; skips if kubectl is missing."""
    if not shutil.which("kubectl"):
        if os.environ.get("CI"):
            pytest.fail("kubectl is missing")
        pytest.skip("needs kubectl")
    shutil.copytree(OVERLAYS.parent, tmp_path / "k8s")
    monkeypatch.setattr("tools.manifests.OVERLAYS", tmp_path / "k8s" / "overlays")
    return tmp_path / "k8s" / "overlays"


def test_every_environment_is_valid(overlays: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifests.main()
    lines = capsys.readouterr().out.splitlines()
    for env, line in zip(("production", "staging"), lines, strict=True):
        assert re.fullmatch(rf"{env}: [7-9] objects valid for Kubernetes 1\.\d+.*", line)


@pytest.mark.parametrize(
    ("right", "wrong", "path"),
    [
        ("minReplicas: [0-9]+", 'minReplicas: "1"', "Horiz.*: spec.minReplicas: '1' is not"),
        ("minReplicas:", "minReplica:", r"Horiz.*: spec: .*\('minReplica' was unexpected\)"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: 1", "Deployment .*containers.0"),
        ("containerPort:", "port:", r"Deployment .*: spec.template.spec.containers.0.ports.0: "),
        ("maxUnavailable: 0", "maxUnavailable: []", "Deployment .*rollingUpdate.maxUnavailable"),
        ("automountServiceAccountToken:", "automountToken:", "ServiceAccount .*: : Additional"),
    ],
)
def test_a_mistake_is_found_with_object_and_path(
    overlays: Path, right: str, wrong: str, path: str
) -> None:
    for file in [*(overlays.parent / "base").glob("*.yaml"), overlays / "staging" / "size.yaml"]:
        file.write_text(re.sub(right, wrong, file.read_text()))
    with pytest.raises(SystemExit) as caught:
        manifests.main()
    lines = str(caught.value.code).splitlines()
    assert any(re.match(f"staging: {path}", line) for line in lines), lines
    assert all(len(line) < 400 for line in lines)


def test_a_folder_that_cannot_be_rendered(overlays: Path) -> None:
    (overlays / "staging" / "size.yaml").unlink()
    with pytest.raises(SystemExit, match="not done: kubectl kustomize: .*size.yaml"):
        manifests.main()


def test_kinds_that_kubernetes_does_not_bring_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    own = "apiVersion: acme.example/v1\nkind: Budget\nmetadata: {name: mine}\nspec: {any: thing}\n"
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: mine}\n"
    assert manifests.check("staging", f"{own}---\n{service}") == []
    said = capsys.readouterr().out
    assert "staging: 1 objects valid" in said and said.endswith("no such kind: Budget mine\n")


def test_without_kubectl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="not done: kubectl is missing; see https://"):
        manifests.main()
