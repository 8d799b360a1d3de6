"""Azure's pipelines: what their schema finds, and what would run on each occasion.

No Azure can be had here; tests/azure.py reads the pipelines as it does, and runs their make lines.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import azure
import pytest
import steps
from azure import Start
from harness import TEMPLATE, edit
from occasions import CANDIDATE, DATA, NUMBER
from steps import Mistake

BIN = Path(sys.executable).parent
FILES = ("azure-pipelines.yml", "azure-operate.yml")
STARTS = {
    "request": ("azure-pipelines.yml", Start("PullRequest", "refs/pull/1/merge")),
    "main": ("azure-pipelines.yml", Start("IndividualCI")),
    "schedule": ("azure-operate.yml", Start("Schedule")),
    "retrain": ("azure-pipelines.yml", Start("Manual", parameters={"data": DATA})),
    "rollback": (
        "azure-operate.yml",
        Start("Manual", parameters={"what": "rollback", "env": "production", "number": NUMBER}),
    ),
    "shadow": (
        "azure-operate.yml",
        Start("Manual", parameters={"what": "shadow", "candidate": CANDIDATE}),
    ),
}
RELEASED = Start("IndividualCI", changed="k8s/overlays/staging/release/kustomization.yaml")


def wrong(pipelines: Path, into: Path) -> list[str]:
    """Return in what these pipelines do not do what the table says."""
    found = []
    for occasion, (name, start) in STARTS.items():
        try:
            if not azure.starts(pipelines / name, start):
                found.append(f"{occasion}: does not start")
            ran = azure.steps(pipelines / name, start)
            if name == FILES[1]:
                # Started by hand, it waits for an approver of production only.
                ran = [replace(step, waits=False) for step in ran]
            found += steps.wrong(occasion, ran, into / occasion)
        except (Mistake, KeyError, TypeError, AttributeError) as error:
            found.append(f"{occasion}: {error!r}")
    return found + [name for name in FILES if azure.starts(pipelines / name, RELEASED)]


def misfits(pipelines: Path) -> str:
    """Return what does not fit the schema; nothing if all is well."""
    command = [f"{BIN}/check-jsonschema", "--builtin-schema", "vendor.azure-pipelines"]
    command += ["--regex-variant", "nonunicode", *(str(pipelines / name) for name in FILES)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def test_runs_what_the_occasions_ask_for(tmp_path: Path) -> None:
    assert wrong(TEMPLATE, tmp_path) == []


def test_nobody_is_asked_about_what_production_runs_already() -> None:
    name, start = STARTS["retrain"]
    made = azure.steps(TEMPLATE / name, replace(start, new=False))
    assert made and not any(step.waits for step in made)


def test_fits_the_schema() -> None:
    assert misfits(TEMPLATE) == ""


# Mistakes as they are made: which file, what stands there, what somebody writes instead, and who
# finds it: the schema, the table, or both.
MISTAKES = {
    "a goal left out": (0, "make check smoke image manifests", "make check image", "table"),
    "a condition": (0, "'PullRequest', 'IndividualCI'", "'PullRequest'", "table"),
    "a stage's name": (
        0,
        "eq(dependencies.staging.result",
        "eq(dependencies.stageing.result",
        "table",
    ),
    "a function": (0, "and(in(dep", "all(in(dep", "table"),
    "a parenthesis": (0, "'refs/heads/main'))", "'refs/heads/main')", "table"),
    "a key": (0, "dependsOn: check", "dependOn: check", "schema"),
    "a key of a job": (0, 'timeoutInMinutes: "60"', 'timeoutMinutes: "60"', "schema"),
    "a parameter": (0, "${{ parameters.data }}", "${{ parameters.dta }}", "table"),
    "a variable": (0, "HOST: $(STAGING_URL)", "HOST: $(STAGE_URL)", "table"),
    "an environment": (0, "environment: production", "environment: prodution", "table"),
    "no approval": (0, "        environment: production", "        environment: staging", "table"),
    "a value in a shell": (
        1,
        "script: make rollback",
        'script: make rollback NUMBER="${{ parameters.number }}$(touch pwned)"',
        "table",
    ),
    "an artifact": (0, "{publish: report, artifact: report}", "{publish: report}", "table"),
    "a second attempt": (
        0,
        "artifact: loadtest-$(System.JobAttempt)",
        "artifact: loadtest",
        "table",
    ),
    "a type": (0, "lockBehavior: sequential", "lockBehavior: serial", "schema"),
    "no rollback": (0, ", {name: ON_FAILURE, value: rollback}]", "]", "table"),
    "a secret file": (1, "kubeconfig-${{ parameters.env }}", "kubeconfig", "table"),
    "a loop": (0, "  paths: {exclude: [k8s/overlays/*/release/*]}", "", "table"),
    "an output": (0, "staging.pushed.new", "staging.push.new", "table"),
    "a default": (1, "default: drift", "default: shadow", "table"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str, tmp_path: Path) -> None:
    number, right, written, finder = MISTAKES[mistake]
    for name in FILES:
        shutil.copy(TEMPLATE / name, tmp_path)
    edit(tmp_path / FILES[number], right, written)
    found = {"schema": bool(misfits(tmp_path)), "table": bool(wrong(tmp_path, tmp_path / "x"))}
    assert found[finder], found
