"""An overlay as it is deployed: with the image's tag, and its version on the labels."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tools.deploy.service import ROOT, DeployError, Service

OVERLAYS = ROOT / "k8s" / "overlays"
UNRELEASED = "unreleased"


def overlay(env: str) -> Path:
    """Return the folder of an environment; raises DeployError for one that there is not."""
    known = sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))
    if env not in known:
        raise DeployError(f"ENV={env}: there is {' and '.join(known)}, in k8s/overlays")
    return OVERLAYS / env


def namespace(env: str) -> str:
    found = re.search(
        r"^namespace: *(\S+)", (overlay(env) / "kustomization.yaml").read_text(), re.MULTILINE
    )
    if not found:
        raise DeployError(f"k8s/overlays/{env}/kustomization.yaml names no namespace")
    return found[1]


def render(service: Service, env: str, tag: str, candidate: str = "") -> str:
    """Return the manifests of `env` as YAML, with the image's `tag`, and that of the candidate.

    Raises DeployError for tags that are missing or are none, and for what kustomize cannot render.
    """
    patches = []
    for name, key, value in (
        (service.name, "TAG", tag),
        (f"{service.name}-candidate", "CANDIDATE", candidate),
    ):
        if value or key == "TAG":
            if not re.fullmatch(r"\w[\w.-]{0,127}", value, re.ASCII):
                raise DeployError(
                    f"{key}={value}: expected an image's tag, as `make image` says it"
                )
            patches.append(_patch(name, f"{service.repository}:{value}", value.split("-")[0]))
    with tempfile.TemporaryDirectory() as folder:
        # kustomize takes no absolute paths, and a relative one must not lead through links.
        base = os.path.relpath(overlay(env).resolve(), Path(folder).resolve())
        # JSON is YAML, too.
        (Path(folder) / "kustomization.yaml").write_text(
            json.dumps({"resources": [base], "patches": patches})
        )
        text = kubectl("kustomize", folder)
    if f":{UNRELEASED}" in text:
        raise DeployError(f"ghost mode is on in {env}: say with whom, by CANDIDATE=<tag>")
    if candidate and f"name: {service.name}-candidate" not in text:
        raise DeployError(f"CANDIDATE={candidate}: ghost mode is off in k8s/overlays/{env}")
    return text


def _patch(name: str, image: str, version: str) -> dict[str, Any]:
    label = "labels/tags.datadoghq.com~1version"
    return {
        "target": {"kind": "Deployment", "name": name},
        "patch": json.dumps(
            [
                {"op": "add", "path": f"/metadata/{label}", "value": version},
                {"op": "add", "path": f"/spec/template/metadata/{label}", "value": version},
                {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image},
            ]
        ),
    }


def kubectl(*arguments: str, given: str | None = None, good: tuple[int, ...] = (0,)) -> str:
    """Run kubectl and return what it said; raises DeployError with what it complained of."""
    try:
        done = subprocess.run(
            ["kubectl", *arguments], input=given, capture_output=True, text=True, cwd=ROOT
        )
    except OSError:
        raise DeployError(
            "kubectl is missing; see https://kubernetes.io/docs/tasks/tools"
        ) from None
    if done.returncode not in good:
        raise DeployError(f"kubectl {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
