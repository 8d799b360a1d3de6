"""GitLab's CI file, run by gitlab-ci-local on each occasion. It does not look at `workflow`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from harness import ROOT, bake, committed, edit
from occasions import (
    CANDIDATE,
    CHECKS,
    DATA,
    NUMBER,
    OCCASIONS,
    STAGING_URL,
    Recorder,
    differences,
)

BIN = ROOT / "build" / "ci" / "node_modules" / ".bin"
# How GitLab says why a pipeline starts, and what a person filled in.
STARTS = {
    "request": {"CI_PIPELINE_SOURCE": "merge_request_event"},
    "main": {"CI_PIPELINE_SOURCE": "push"},
    "schedule": {"CI_PIPELINE_SOURCE": "schedule"},
    # What the form asks besides, for other things, must not matter here.
    "retrain": {
        "CI_PIPELINE_SOURCE": "web",
        "WHAT": "retrain",
        "DATA": DATA,
        "ENV": "production",
        "CANDIDATE": CANDIDATE,
        "TAG": CANDIDATE,
    },
    "rollback": {
        "CI_PIPELINE_SOURCE": "web",
        "WHAT": "rollback",
        "ENV": "production",
        "NUMBER": NUMBER,
    },
    "shadow": {"CI_PIPELINE_SOURCE": "web", "WHAT": "shadow", "CANDIDATE": CANDIDATE},
    "drift": {"CI_PIPELINE_SOURCE": "trigger"},  # what `make drift` and Datadog start
}
# What docs/ci.md has people configure once. Protected: a request for a merge does not see them.
PROTECTED = {
    "STORE": "s3://models/x",
    "REGISTRY_PASSWORD": "a-secret",
    "KUBECONFIG": "a-file",
    "STAGING_URL": STAGING_URL,
    "DD_API_KEY": "a-secret",
    "RETRAIN_TOKEN": "a-secret",
}


def tool(name: str) -> str:
    if not (BIN / name).exists():
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing")
        pytest.skip(f"needs {name}: make build/ci/done")
    return str(BIN / name)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service in a git repository of its own, as GitLab has it."""
    tool("gitlab-ci-local")
    folder = bake(tmp_path_factory.mktemp("gitlab"), ci="gitlab")
    committed(folder)
    remote = ["remote", "add", "origin", "git@gitlab.example.com:models/service.git"]
    subprocess.run(["git", *remote], cwd=folder, check=True)
    return folder


@pytest.fixture
def service(generated: Path, tmp_path: Path) -> Path:
    """A copy for a test, which gitlab-ci-local leaves its artifacts in."""
    return Path(shutil.copytree(generated, tmp_path / "service"))


def run(
    service: Path, into: Path, occasion: str, make: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run the jobs of a pipeline, each in a folder of its own, with that `make` first on PATH."""
    command = [tool("gitlab-ci-local")]
    command += ["--home", str(into), "--force-shell-executor", "--shell-isolation", *options]
    secrets = {} if occasion == "request" else PROTECTED
    for name, value in ({"RUNNER": "models"} | secrets | STARTS[occasion]).items():
        command += ["--variable", f"{name}={value}"]
    path = os.pathsep.join([str(make), str(BIN), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "HOME": str(into)}
    return subprocess.run(
        command, cwd=service, env=env, capture_output=True, text=True, timeout=120
    )


def wrong(service: Path, into: Path, occasion: str) -> list[str]:
    """Return in what the pipeline of an occasion does not do what the table says."""
    expected = OCCASIONS[occasion]
    try:
        fields = yaml.safe_load((service / ".gitlab-ci.yml").read_text())["variables"]
    except yaml.YAMLError as error:
        return [str(error)]
    for name in set(fields) & set(STARTS[occasion]):
        options = fields[name].get("options")
        if options and STARTS[occasion][name] not in options:
            return [f"nobody can ask for {name}={STARTS[occasion][name]}"]
    recorder = Recorder(into / "recorder")
    needs_an_image(recorder.bin / "make")
    done = run(service, into, occasion, recorder.bin)
    found = differences(recorder.calls(), expected.calls, secrets=occasion != "request")
    if done.returncode:
        found.append(done.stdout + done.stderr)
    if expected.approved:
        done = run(service, into, occasion, recorder.bin, "--manual", "production")
        found += differences(recorder.calls(), [*expected.calls, *expected.approved])
        if done.returncode:
            found.append(done.stdout + done.stderr)
    if list(into.rglob("pwned")):
        found.append("a shell evaluates a value from outside")
    return found


def needs_an_image(make: Path) -> None:
    """Have a recording make fail where production is not told which image staging ran."""
    recording = make.rename(make.with_name("recording"))
    make.write_text(
        "#!/bin/sh\n"
        'case "$*" in *ENV=production*) test -s report/image.txt || exit 9 ;; esac\n'
        f'exec {recording} "$@"\n'
    )
    make.chmod(0o755)


@pytest.mark.parametrize("occasion", OCCASIONS)
def test_runs_what_the_occasion_asks_for(service: Path, occasion: str, tmp_path: Path) -> None:
    assert wrong(service, tmp_path, occasion) == []


def test_drift_starts_a_training_with_the_newest_data(service: Path, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "recorder")
    done = run(service, tmp_path, "drift", recorder.bin)
    trained = OCCASIONS["main"].calls[len(CHECKS) :]
    assert differences(recorder.calls(), trained) == [], done.stdout + done.stderr


# Mistakes as they are made: what stands there, what somebody writes instead, on which occasion it
# shows.
MISTAKES = {
    "a goal left out": ("make check smoke image", "make check image", "request"),
    "a source": ("(merge_request_event|push)", "(merge_request_events|push)", "request"),
    "a key": ("  script: make drift", "  scripts: make drift", "schedule"),
    "a stage": ("  stage: production", "  stage: prod", "main"),
    "a job": ("needs: [staging]", "needs: [stageing]", "main"),
    "no image": ("needs: [staging]", "needs: []", "main"),
    "nothing kept": ("paths: [report/, loadtests/report.html]", "paths: [loadtests/]", "main"),
    "no approval": ("  when: manual\n", "", "main"),
    "a value in a shell": (
        "make retrain image push",
        "make retrain image push DATA=$DATA",
        "retrain",
    ),
    "a value of the form": ("ENV=staging TAG= CANDIDATE=", "CANDIDATE=", "retrain"),
    "an image of the form": ("ENV=production TAG= ", "ENV=production ", "retrain"),
    "packages built again": ('REUSE: "1", ', "", "main"),
    "an option": ("options: [retrain, rollback, shadow]", "options: [retrain, roll]", "rollback"),
    "a trigger": ('"web" && $WHAT == "shadow"', '"web" && $WHAT == "shade"', "shadow"),
    "a default": ('DATA: {value: "",', "DATA: {value: old,", "main"),
    "a brace": ("variables: {ON_DRIFT: retrain, ", "variables: {ON_DRIFT: retrain, {", "schedule"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(service: Path, mistake: str, tmp_path: Path) -> None:
    right, written, occasion = MISTAKES[mistake]
    edit(service / ".gitlab-ci.yml", right, written)
    assert wrong(service, tmp_path, occasion)
