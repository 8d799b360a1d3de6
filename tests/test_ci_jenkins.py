"""Jenkinsfiles: what Groovy's parser finds, and what would run on each occasion.

No Jenkins can be had here; tests/jenkins.py reads the files as it does, and runs their make lines.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import steps
from harness import TEMPLATE, edit
from jenkins import Build, Start
from occasions import CANDIDATE, DATA, NUMBER
from steps import Mistake

FILES = ("Jenkinsfile", "Jenkinsfile.operate")
STARTS = {
    "request": ("Jenkinsfile", Start("PR-1")),
    "main": ("Jenkinsfile", Start()),
    "schedule": ("Jenkinsfile.operate", Start(cause="TimerTrigger", changed=())),
    "retrain": (
        "Jenkinsfile",
        Start(cause="UserIdCause", changed=(), parameters={"WHAT": "retrain", "DATA": DATA}),
    ),
    "rollback": (
        "Jenkinsfile.operate",
        Start(
            cause="UserIdCause",
            parameters={"WHAT": "rollback", "ENV": "production", "NUMBER": NUMBER},
        ),
    ),
    "shadow": (
        "Jenkinsfile.operate",
        Start(cause="UserIdCause", parameters={"WHAT": "shadow", "CANDIDATE": CANDIDATE}),
    ),
}
ASKED = ("rollback", "shadow")  # even who starts these by hand, for the name
# What starts builds, and must do nothing.
RELEASED = Start(changed=("k8s/overlays/staging/release/kustomization.yaml",))
IDLE = {
    "a release": ("Jenkinsfile", RELEASED),
    "another branch": ("Jenkinsfile.operate", Start("PR-1")),
    "a commit": ("Jenkinsfile.operate", Start()),
}


def wrong(files: Path, into: Path) -> list[str]:
    """Return in what these Jenkinsfiles do not do what the table says."""
    found = []
    for occasion, (name, start) in STARTS.items():
        try:
            made = Build(files / name, start).steps
            if occasion in ASKED and all(step.waits for step in made):
                made = [replace(step, waits=False) for step in made]
            found += steps.wrong(occasion, made, into / occasion)
        except (Mistake, LookupError, ValueError) as error:
            found.append(f"{occasion}: {error!r}")
    for case, (name, start) in IDLE.items():
        try:
            found += [f"{case} starts {step.script}" for step in Build(files / name, start).steps]
        except Mistake as error:
            found.append(f"{case}: {error!r}")
    return found


def test_runs_what_the_occasions_ask_for(tmp_path: Path) -> None:
    assert wrong(TEMPLATE, tmp_path) == []


def test_nobody_is_asked_about_what_production_runs_already() -> None:
    name, start = STARTS["retrain"]
    made = Build(TEMPLATE / name, replace(start, new=False)).steps
    assert made and not any(step.waits for step in made)


@pytest.mark.parametrize("start", [Start(changed=(), first=True), Start("main", "UserIdCause", ())])
def test_a_build_without_changes_delivers_too(start: Start, tmp_path: Path) -> None:
    """The first of a branch, and one that a person asks for."""
    assert steps.wrong("main", Build(TEMPLATE / "Jenkinsfile", start).steps, tmp_path) == []


# Mistakes as they are made: which file, what stands there, what somebody writes instead.
MISTAKES = {
    "a goal left out": (0, "make check smoke image manifests", "make check image"),
    "a brace": (0, "env.CHECKED = 'yes' }", "env.CHECKED = 'yes'"),
    "a section": (0, "agent { label", "agents { label"),
    "a step": (0, "unstash 'report'", "unstah 'report'"),
    "a stash": (0, "stash name: 'report'", "stash name: 'reports'"),
    "a credential": (0, "credentials('kubeconfig-production')", "credentials('kubeconfig')"),
    "a parameter": (1, "params.WHAT == 'shadow'", "params.WAHT == 'shadow'"),
    "a choice": (1, "'rollback', 'shadow']", "'roll back', 'shadow']"),
    "a branch": (0, "when { branch 'main'; anyOf", "when { branch 'master'; anyOf"),
    "a condition": (0, "changeRequest()", "changeRequests()"),
    "no checkout": (0, "when {\n", "when {\n beforeAgent true\n"),
    "a loop": (0, "(?!k8s/overlays/[^/]+/release/).+", ".+"),
    "no approval": (
        0,
        "when { branch 'main'; expression { env.IMAGE }; beforeInput true }\n",
        "\n// ",
    ),
    "a value in a shell": (1, "sh 'make rollback'", 'sh "make rollback NUMBER=${params.NUMBER}"'),
    "no rollback": (0, "; ON_FAILURE = 'rollback'", ""),
    "a unit": (0, "unit: 'DAYS'", "unit: 'DAY'"),
    "a quote": (0, "stash name: 'report', ", "stash name: 'report, "),
    "who pushes": (1, "withCredentials([gitUsernamePassword(credentialsId: 'git')]) {", "script {"),
    "a file": (0, "readFile('report/image.txt')", "readFile('image.txt')"),
    "a cause": (1, "triggeredBy 'TimerTrigger'", "triggeredBy 'Timer'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str, tmp_path: Path) -> None:
    number, right, written = MISTAKES[mistake]
    for name in FILES:
        shutil.copy(TEMPLATE / name, tmp_path)
    edit(tmp_path / FILES[number], right, written)
    assert wrong(tmp_path, tmp_path / "x")
