"""Pipelines as a whole, by `make pipelines`: from a commit to production, with a real registry.

The cluster is a stand-in: its kubectl runs what is applied by podman, in place of what ran there.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from harness import SERVICE_VENV, bake, committed, edit, free_port
from images import RESTRICTED, build_options, podman
from registry import Registry, registry
from test_ci_github import act
from test_ci_gitlab import BIN, tool

KUBECTL = """#!/bin/sh
where=$2
case "$*" in
  kustomize*) exec /usr/bin/kubectl "$@" ;;
  *current-context*) echo stand-in ;;
  *" apply "*)
    for folder; do :; done
    image=$(/usr/bin/kubectl kustomize "$folder" | sed -n 's/^ *image: \\(.*\\):.*@/\\1@/p')
    podman rm --force --time 0 "{name}-$where" >&2
    [ "$where" = models-staging ] && port="--publish 127.0.0.1:{port}:8000"
    podman run --detach --name "{name}-$where" $port {restricted} "$image" >&2 || exit 1
    echo "deployment.apps/service configured" ;;
  *"rollout status"*)
    podman exec "{name}-$where" python -c \\
      'from urllib.request import urlopen; urlopen("http://127.0.0.1:8000/readyz")' 2>/dev/null \\
      && echo "successfully rolled out" || echo waiting ;;
  *applications*) ;;
  *json*) echo '{{"items": [], "metadata": {{"annotations": {{}}}}, "status": {{}}}}' ;;
esac
"""


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "registry").mkdir()
    with registry(tmp_path / "registry") as found:
        yield found
        for environment in ("staging", "production"):
            podman("rm", "--force", "--time", "0", f"{tmp_path.name}-models-{environment}")
        names = podman("images", "--filter", f"reference={found.host}/*/*", "--quiet").split()
        podman("rmi", "--force", *{*names})


def gitlab(service: Path, into: Path, bin: Path, variables: dict[str, str]) -> None:
    command = [tool("gitlab-ci-local"), "--home", str(into), "--manual", "production"]
    command += ["--force-shell-executor", "--shell-isolation"]
    given = variables | {
        "CI_PIPELINE_SOURCE": "push",
        "RUNNER": "models",
        "GITLAB_USER_LOGIN": "ann",
    }
    command += [f"--variable={name}={value}" for name, value in given.items()]
    env = os.environ | machine() | {"PATH": f"{bin}:{BIN}:{os.environ['PATH']}", "HOME": str(into)}
    done = subprocess.run(command, cwd=service, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def github(service: Path, into: Path, bin: Path, variables: dict[str, str]) -> None:
    known = variables | {"REGISTRY_USER": os.environ["REGISTRY_USER"]}
    secrets = {"REGISTRY_PASSWORD": os.environ["REGISTRY_PASSWORD"], "KUBECONFIG": "none"}
    act(service, into, "main", bin, known, secrets, machine())


def machine() -> dict[str, str]:
    """Return what a build and a fresh environment need here, and no pipeline of its own."""
    return {"ARGS": " ".join(build_options()), "VENV": str(SERVICE_VENV)}


@pytest.mark.whole
@pytest.mark.parametrize(("run", "pushed_by"), [(github, "bob"), (gitlab, "ann")])
def test_from_a_commit_to_production(
    run: Callable[[Path, Path, Path, dict[str, str]], None],
    pushed_by: str,
    there: Registry,
    tmp_path: Path,
) -> None:
    service = bake(tmp_path, ci=run.__name__, image_registry=f"{there.host}/ml")
    # Others run here too.
    edit(service / "loadtests" / "slo.toml", "p99_ms = 100", "p99_ms = 10000")
    bare = tmp_path / "origin.git"
    committed(service)
    for command in (
        ["init", "-q", "--bare", "-b", "main", str(bare)],
        ["remote", "add", "origin", str(bare)],
        ["remote", "add", "gcl-origin", "git@gitlab.example.com:models/service.git"],
        ["push", "-q", "-u", "origin", "main"],
    ):
        subprocess.run(["git", *command], cwd=service, check=True)
    port = free_port()
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    restricted = " ".join(RESTRICTED)
    kubectl.write_text(KUBECTL.format(name=tmp_path.name, port=port, restricted=restricted))
    kubectl.chmod(0o755)
    variables = {
        "STORE": str(tmp_path / "store"),
        "STAGING_URL": f"http://127.0.0.1:{port}",
    }
    run(service, tmp_path, kubectl.parent, variables)

    made = [
        json.loads((tmp_path / "store" / "deployments" / env / "000001.json").read_text())
        for env in ("staging", "production")
    ]
    assert made[0]["tag"] == made[1]["tag"]
    assert [each["by"] for each in made] == [pushed_by, "ann"]
    tag, _, digest = made[0]["tag"].partition("@")
    assert digest == there.digest("ml/tumour-classifier", tag)
    answer = requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5)
    assert tag.startswith(answer.headers["X-Model-Version"])
    log = ["git", "-C", str(bare), "log", "--format=%s", "main"]
    subjects = subprocess.run(log, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [subject.split(":")[0] for subject in subjects] == ["production", "staging", "test"]
    assert all(subject.endswith("[skip ci]") for subject in subjects[:2])
