"""GitHub's workflows: what its own checkers find, and what act runs on each occasion."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from harness import TEMPLATE, bake, committed, edit
from occasions import (
    CANDIDATE,
    DATA,
    NUMBER,
    OCCASIONS,
    STAGING_URL,
    Recorder,
    differences,
)

BIN = Path(sys.executable).parent
WORKFLOWS = TEMPLATE / ".github" / "workflows"
# How GitHub starts a workflow for an occasion.
STARTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "request": ("pull_request", "check", {}),
    "main": ("push", "deliver", {}),
    "schedule": ("schedule", "operate", {}),
    "retrain": ("workflow_dispatch", "deliver", {"data": DATA}),
    "rollback": (
        "workflow_dispatch",
        "operate",
        {"what": "rollback", "env": "production", "number": NUMBER},
    ),
    "shadow": (
        "workflow_dispatch",
        "operate",
        {"what": "shadow", "env": "staging", "candidate": CANDIDATE},
    ),
}
VARIABLES = {"STAGING_URL": STAGING_URL, "STORE": "s3://models/x", "DD_SITE": "datadoghq.eu"}
KEYS = {"REGISTRY_PASSWORD": "a-secret", "KUBECONFIG": "a: kubeconfig", "DD_API_KEY": "k" * 32}
# Actions that act has to get from elsewhere: these do what the delivery needs of them.
KEPT = "runs: {using: composite, steps: [{run: '%s', shell: bash}]}\n"
ACTIONS = {
    "actions/setup-python": KEPT % "true",
    "aws-actions/configure-aws-credentials": KEPT % "true",
    "actions/upload-artifact": KEPT % "mkdir -p {kept} && cp -r report {kept}",
    "actions/download-artifact": KEPT % "cp -r {kept}/report .",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service in a git repository of its own, as GitHub has it."""
    folder = bake(tmp_path_factory.mktemp("github"), ci="github")
    committed(folder)
    return folder


def act(
    service: Path,
    into: Path,
    occasion: str,
    bin: Path,
    variables: Mapping[str, str] = VARIABLES,
    secrets: Mapping[str, str] = KEYS,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run what GitHub runs on an occasion, with the commands of `bin` first on PATH.

    `into`: where act may write. `environ`: what the runner's machine has besides. Returns what was
    said.
    """
    event, workflow, inputs = STARTS[occasion]
    command = [f"{BIN}/act", event, "-W", f".github/workflows/{workflow}.yaml"]
    command += ["-P", "ubuntu-24.04=-self-hosted", "--no-cache-server", "--concurrent-jobs=1"]
    command += ["--actor=bob"]
    command += ["--action-cache-path", str(into / "cache"), "--defaultbranch=main"]
    for path in WORKFLOWS.glob("*.yaml"):
        for line in path.read_text().splitlines():
            name, at, rest = line.partition("uses: ")[2].partition("@")
            if at and name in ACTIONS:
                stub = into / name
                stub.mkdir(parents=True, exist_ok=True)
                action = ACTIONS[name].replace("{kept}", str(into / "kept"))
                (stub / "action.yml").write_text(action)
                command += ["--local-repository", f"{name}@{rest.split()[0]}={stub}"]
    payload = into / "event.json"
    ref = "refs/pull/1/merge" if event == "pull_request" else "refs/heads/main"
    payload.write_text(json.dumps({"ref": ref, "inputs": inputs}))
    command += ["-e", str(payload)]
    command += [f"--var={name}={value}" for name, value in variables.items()]
    command += [f"--secret={name}={value}" for name, value in secrets.items()]
    (bin / "gh").write_text("#!/bin/sh\necho ann\n")
    (bin / "gh").chmod(0o755)
    env = {**os.environ, **environ, "PATH": f"{bin}:{os.environ['PATH']}", "HOME": str(into)}
    done = subprocess.run(command, cwd=service, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("occasion", OCCASIONS)
def test_runs_what_the_occasion_asks_for(service: Path, occasion: str, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "recorder")
    said = act(service, tmp_path, occasion, recorder.bin)
    expected = OCCASIONS[occasion]
    # act asks nobody, so that what waits for a person runs at once.
    calls = [*expected.calls, *expected.approved]
    found = recorder.calls()
    assert differences(found, calls, secrets=occasion != "request") == [], said
    assert not list(service.rglob("pwned"))
    for call in found[len(expected.calls) :]:
        assert call.values["APPROVER"] == "ann"


def test_nobody_is_asked_about_what_production_runs_already(service: Path, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "recorder", new=False)
    said = act(service, tmp_path, "retrain", recorder.bin)
    assert differences(recorder.calls(), OCCASIONS["retrain"].calls) == [], said


def test_the_checkers_find_nothing(service: Path) -> None:
    assert problems(service) == ""


def problems(service: Path) -> str:
    """Return what actionlint and zizmor find; nothing if all is well."""
    folder = service / ".github" / "workflows"
    files = sorted(map(str, folder.glob("*.yaml")))
    lint = subprocess.run(
        [f"{BIN}/actionlint", "-no-color", "-shellcheck=", "-pyflakes=", *files],
        cwd=service,
        capture_output=True,
        text=True,
    )
    audit = subprocess.run(
        [f"{BIN}/zizmor", "--offline", "--no-progress", "--quiet", "--format=plain", *files],
        cwd=service,
        capture_output=True,
        text=True,
    )
    found = lint.stdout if lint.returncode else ""
    return found + (audit.stdout + audit.stderr if audit.returncode else "")


# Mistakes as they are made: which file, what stands there, what somebody writes instead.
MISTAKES = {
    "a runner's name": ("check", "${{ vars.RUNNER || 'ubuntu-24.04' }}", "ubuntu-24.4"),
    "a key": ("check", "timeout-minutes", "timeout"),
    "a context": ("deliver", "${{ vars.STAGING_URL }}", "${{ var.STAGING_URL }}"),
    "a job": ("deliver", "needs: staging", "needs: stageing"),
    "an input": ("deliver", "${{ inputs.data }}", "${{ inputs.dta }}"),
    "a permission": ("operate", "actions: write", "action: write"),
    "a schedule": ("operate", '"0 6 * * 1"', '"0 6 * * 8"'),
    "an action that is not pinned": (
        "check",
        "checkout@3d3c42e5aac5ba805825da76410c181273ba90b1",
        "checkout@v7",
    ),
    "a value in a shell": (
        "operate",
        "run: make rollback",
        "run: make rollback NUMBER=${{ inputs.number }}",
    ),
    "rights for everybody": ("check", "permissions: {contents: read}", "permissions: write-all"),
    "an expression": ("deliver", "!failure() &&", "!failed() &&"),
    "a way in for strangers": ("check", "  pull_request:", "  pull_request_target:"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_checkers_find_a_mistake(service: Path, mistake: str, tmp_path: Path) -> None:
    name, right, wrong = MISTAKES[mistake]
    shutil.copytree(service / ".github", tmp_path / ".github")
    edit(tmp_path / ".github" / "workflows" / f"{name}.yaml", right, wrong)
    assert problems(tmp_path)


def leave_out(text: str) -> str:
    return text.replace("      - run: make smoke\n", "")


def give_secrets(text: str) -> str:
    return text.replace(
        "- run: make smoke", "- run: make smoke\n        env: {STORE: '${{ vars.STORE }}'}"
    )


@pytest.mark.parametrize("change", [leave_out, give_secrets])
def test_the_table_finds_what_is_missing_and_what_is_known(
    service: Path, change: Callable[[str], str], tmp_path: Path
) -> None:
    changed = Path(shutil.copytree(service, tmp_path / "service"))
    path = changed / ".github" / "workflows" / "check.yaml"
    path.write_text(change(path.read_text()))
    recorder = Recorder(tmp_path / "recorder")
    act(changed, tmp_path, "request", recorder.bin)
    assert differences(recorder.calls(), OCCASIONS["request"].calls, secrets=False)
