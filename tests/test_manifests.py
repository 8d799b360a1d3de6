"""Manifests and Dockerfile as others' checkers see them; services bring checks of their own."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from harness import ROOT, bake
from images import needed
from pods import release, without_datadog

CHECKERS = ROOT / "build" / "manifests" / "bin"
# The oldest Kubernetes that the manifests are for, and the newest that the checker knows.
KUBERNETES = ("1.30", "1.37")


def checker(name: str) -> str:
    path = CHECKERS / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing")
        pytest.skip(f"needs {name}: make build/manifests/done")
    return str(path)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bake(tmp_path_factory.mktemp("manifests"))


@pytest.fixture(scope="module")
def rendered(service: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every overlay as it is generated and released, with and without a candidate and Datadog.

    And what is for the cluster; all as files.
    """
    needed("kubectl")
    into = tmp_path_factory.mktemp("rendered")
    for env in ("staging", "production"):
        overlay = service / "k8s" / "overlays" / env
        render(overlay, into / f"{env}-unreleased.yaml")
        original = (overlay / "kustomization.yaml").read_text()
        for datadog, candidate in itertools.product((True, False), ("", "2-b")):
            if not datadog:
                without_datadog(service, env)
            release(service, env, "1-a", candidate)
            words = ["datadog"] * datadog + ["candidate"] * bool(candidate)
            render(overlay, into / f"{'-'.join((env, *words))}.yaml")
            (overlay / "kustomization.yaml").write_text(original)
    commented, line = "  # - ../../components/ab\n", "  - ../../components/ab\n"
    assert commented in original
    (overlay / "kustomization.yaml").write_text(original.replace(commented, line))
    render(overlay, into / "production-ab.yaml")
    (overlay / "kustomization.yaml").write_text(original)
    render(service / "k8s" / "training", into / "training.yaml")
    for name in ("rbac", "networkpolicy"):
        shutil.copy(service / "k8s" / "argo" / f"{name}.yaml", into / f"argo-{name}.yaml")
    render(ROOT / "k8s", into / "cluster.yaml")
    return sorted(into.iterdir())


def render(folder: Path, into: Path) -> None:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    into.write_text(done.stdout)


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(rendered: list[Path], version: str) -> None:
    assert len(rendered) == 15
    command = [checker("kubernetes-validate"), "--strict", "-k", version, *map(str, rendered)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_checkov_finds_nothing(rendered: list[Path], service: Path) -> None:
    """But what is excepted, with the reason, in annotations and comments."""
    # Offline, and all in one run: it takes seconds to start.
    command = [checker("checkov"), "--skip-download", "--quiet", "--compact"]
    command += ["--framework", "kubernetes", "dockerfile", "cloudformation", "argo_workflows"]
    templates = ("infra/aws/base.yaml", "infra/aws/batch.yaml")
    others = ("Dockerfile", *templates, "k8s/argo/workflowtemplate.yaml")
    for file in [*rendered, *(service / name for name in others)]:
        command += ["--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    counts = re.findall(r"Passed checks: (\d+), Failed checks: (\d+)", done.stdout)
    assert len(counts) in (0, 4) and all(failed == "0" for _, failed in counts), done.stdout
    assert done.returncode == 0, done.stdout + done.stderr


def test_checkov_is_awake(rendered: list[Path], tmp_path: Path) -> None:
    (good,) = (path for path in rendered if path.stem == "production")
    bad = tmp_path / "bad.yaml"
    text = good.read_text()
    assert "readOnlyRootFilesystem: true" in text
    bad.write_text(text.replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"))
    command = [checker("checkov"), "--skip-download", "--quiet", "--compact", "--file", str(bad)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "CKV_K8S_22" in done.stdout


def test_hadolint_finds_nothing(service: Path) -> None:
    done = subprocess.run(
        [checker("hadolint"), service / "Dockerfile"], capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


def test_namespaces_of_the_overlays_are_the_clusters(rendered: list[Path]) -> None:
    (cluster,) = (path for path in rendered if path.stem == "cluster")
    items = list(yaml.safe_load_all(cluster.read_text()))
    known = {item["metadata"]["name"]: item for item in items if item["kind"] == "Namespace"}
    denied = {i["metadata"]["namespace"]: i["spec"] for i in items if i["kind"] == "NetworkPolicy"}
    used = {
        item["metadata"]["namespace"]
        for path in rendered
        if path != cluster
        for item in yaml.safe_load_all(path.read_text())
    }
    assert used == known.keys() == denied.keys()
    for namespace in known.values():
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for policy in denied.values():
        assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_cluster_for_a_laptop() -> None:
    config = yaml.safe_load((ROOT / "k8s" / "kind.yaml").read_text())
    assert config["apiVersion"] == "kind.x-k8s.io/v1alpha4"
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker", "worker"]
