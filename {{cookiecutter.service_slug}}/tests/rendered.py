"""The manifests of an environment as the cluster gets them, rendered by kubectl, to ask about."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.deploy import release
from tools.deploy.service import NAME, ROOT

TAG, CANDIDATE_TAG = "0ed64d9e503e-1a2b3c4d", "73f0a1b2c3d4-5e6f7a8b"
ENVIRONMENTS = sorted(path.parent.name for path in release.OVERLAYS.glob("*/kustomization.yaml"))
Json = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    env: str
    with_candidate: bool
    items: tuple[Any, ...]

    def all(self, kind: str) -> list[Json]:
        return [item for item in self.items if item["kind"] == kind]

    def one(self, kind: str, name: str = NAME) -> Json:
        (found,) = [item for item in self.all(kind) if item["metadata"]["name"] == name]
        return dict(found)

    def settings(self) -> dict[str, str]:
        (source,) = container(self.one("Deployment"))["envFrom"]
        return dict(self.one("ConfigMap", source["configMapRef"]["name"])["data"])

    def selected(self, selector: Json) -> set[str]:
        """Return the names of the Deployments whose pods the selector matches."""
        return {
            item["metadata"]["name"]
            for item in self.all("Deployment")
            if selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        }


def pod(deployment: Json) -> Json:
    return dict(deployment["spec"]["template"]["spec"])


def container(deployment: Json) -> Json:
    (found,) = pod(deployment)["containers"]
    return dict(found)


def env(deployment: Json) -> Json:
    return {item["name"]: item for item in container(deployment).get("env", [])}


def port_number(deployment: Json, port: Any) -> int:
    named = {item["name"]: item["containerPort"] for item in container(deployment)["ports"]}
    return int(named.get(port, port))


def needs_kubectl() -> None:
    """Skip the test if kubectl is missing, which in CI is a failure."""
    if not shutil.which("kubectl"):
        if os.environ.get("CI"):
            pytest.fail("kubectl is missing")
        pytest.skip("needs kubectl")


def render(
    folder: Path, env: str, with_candidate: bool, without: str = "", component: str = ""
) -> Rendered:
    """Release to `env` in a copy of k8s/ in `folder`, and render it; skips if kubectl is missing.

    `without` is a text to take out of the overlay's kustomization.yaml, `component` the name of one
    that is commented out there and wanted.
    """
    needs_kubectl()
    overlay = Path(shutil.copytree(ROOT / "k8s", folder / "k8s")) / "overlays" / env
    text = release.render(env, TAG, CANDIDATE_TAG if with_candidate else "")
    (overlay / "release").mkdir(exist_ok=True)
    (overlay / "release" / "kustomization.yaml").write_text(text)
    text = (overlay / "kustomization.yaml").read_text()
    assert without in text
    text = text.replace(without, "")
    if component:
        line = f"  # - ../../components/{component}\n"
        assert line in text
        text = text.replace(line, line.replace("# ", ""))
    (overlay / "kustomization.yaml").write_text(text)
    command = ["kubectl", "kustomize", str(overlay)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "warning" not in done.stderr.lower(), done.stderr
    return Rendered(env, with_candidate, tuple(yaml.safe_load_all(done.stdout)))
