"""What is handed to make reaches programs as it was written: neither make nor a shell runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import ROOT, TEMPLATE, copied, make

# Each would make a file x, in one way or another.
HOSTILE = ["'; touch x; '", '"; touch x; "', "$(shell touch x)", "$(touch x)", "`touch x`"]
HOSTILE += ["a\ntouch x", "&& touch x #", "$(eval $(shell touch x))", "; touch x", "\\'; touch x #"]
TARGETS = re.compile(r"^([a-z-]+):.*##", re.M)
OPTIONS = re.compile(r"^(\w+) \?=", re.M)
# These are words of rules and recipes, and refused.
PATHS = {"PYTHON", "VENV"}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A copy of the template's Makefiles, where each program only notes what it was given."""
    folder = tmp_path / "template"
    for source in (ROOT, TEMPLATE):
        into = folder / source.relative_to(ROOT)
        into.mkdir(parents=True, exist_ok=True)
        for path in (source / "Makefile", *source.glob("requirements*.txt")):
            shutil.copy(path, into)
    for name in (
        "loadtests/requirements.txt",
        "tests/requirements-manifests.txt",
        "tests/ci/package.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("models", "clients"):
        (folder / "tests" / f"requirements-{name}.txt").touch()
    (folder / "build" / "machinery" / "service").mkdir(parents=True)
    environments = ("venv", "service-venv", "manifests", "models-venv", "clients")
    build = [folder / "build" / name for name in environments]
    for environment in (tmp_path, folder / TEMPLATE.name / ".venv", *build):
        (environment / "bin").mkdir(parents=True)
        for name in ("python", "python3", "ruff", "mypy", "uv", "kind", "kubectl", "wrk", "npm"):
            program = environment / "bin" / name
            program.write_text(f"#!/bin/sh\n(printf '%s\\0' \"$@\"; env -0) >> {tmp_path}/given\n")
            program.chmod(0o755)
    return folder


def run(folder: Path, values: dict[str, str], by: str) -> subprocess.CompletedProcess[str]:
    """Run all targets of the Makefile, the one that removes things last."""
    targets = sorted(TARGETS.findall((folder / "Makefile").read_text()), key="clean".__eq__)
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    env["PATH"] = f"{folder.parent / 'bin'}:{folder.parent.parent / 'bin'}:{env['PATH']}"
    words = [f"{name}={value}" for name, value in values.items()] if by == "arguments" else []
    return subprocess.run(
        ["make", "--keep-going", *words, *targets],
        cwd=folder,
        env=env | (values if by == "environment" else {}),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("by", ["arguments", "environment"])
@pytest.mark.parametrize("makefile", [".", TEMPLATE.name])
@pytest.mark.parametrize("value", HOSTILE)
def test_make_hands_values_on_as_they_are(
    template: Path, makefile: str, value: str, by: str
) -> None:
    folder = template / makefile
    options = set(OPTIONS.findall((folder / "Makefile").read_text()))
    done = run(folder, dict.fromkeys(options - PATHS, value), by)
    assert done.returncode == 0, done.stderr
    assert not list(template.rglob("x"))
    given = (template.parent / "given").read_text().split("\0")
    as_words = " ".join(value.split())  # spaces and line breaks are all the same
    for name in options - PATHS:
        assert f"{name}={as_words}" in given


@pytest.mark.parametrize("by", ["arguments", "environment"])
@pytest.mark.parametrize(
    ("makefile", "name"), [(".", "PYTHON"), (TEMPLATE.name, "PYTHON"), (TEMPLATE.name, "VENV")]
)
@pytest.mark.parametrize("value", HOSTILE)
def test_make_refuses_paths_that_are_none(
    template: Path, makefile: str, name: str, value: str, by: str
) -> None:
    done = run(template / makefile, {name: value}, by)
    assert done.returncode == 2
    assert re.fullmatch(rf"Makefile:\d+: \*\*\* {name}=.*: expected a path.*\n", done.stderr)
    assert not list(template.rglob("x")) and not (template.parent / "given").exists()


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(
    ("excepted", "expected"),
    [
        ("", "localhost,127.0.0.1,::1"),
        (".corp, $(shell touch x)", ".corp, $(shell touch x),localhost,127.0.0.1,::1"),
        ("*", "*"),
    ],
)
def test_this_machine_is_asked_without_a_proxy(
    template: Path, name: str, excepted: str, expected: str
) -> None:
    others = {"no_proxy": "", "NO_PROXY": "", "HTTP_PROXY": "http://proxy.corp"}
    assert run(template, others | {name: excepted}, "environment").returncode == 0
    assert not list(template.rglob("x"))
    given = (template.parent / "given").read_text().split("\0")
    found = {word for word in given if word.lower().startswith("no_proxy=")}
    assert found == {f"no_proxy={expected}", f"NO_PROXY={expected}"}


@pytest.mark.parametrize(
    ("target", "name"),
    [("release", "TAG"), ("release", "ENV"), ("release", "CANDIDATE"), ("deploy", "ENV")]
    + [("deploy", "TAG"), ("diff", "CANDIDATE"), ("rollback", "ENV"), ("retrain", "ARGS")]
    + [("release", "COMMIT"), ("deploy", "ON_FAILURE"), ("rollback", "NUMBER")]
    + [("loadtest", "HOST"), ("loadtest-ui", "HOST"), ("observe", "ARGS"), ("size", "CPUS")]
    + [("size", "PEAK_RPS"), ("size", "AVERAGE_RPS"), ("shadow-gate", "LOGS")]
    + [("accuracy", "LOGS"), ("accuracy", "ARGS")]
    + [("shadow-report", "ARGS"), ("drift", "DATA"), ("drift", "ON_DRIFT")]
    + [("ab-gate", "LOGS"), ("ab-report", "ARGS")],
)
def test_programs_refuse_values_that_are_none(
    baked: Path, tmp_path: Path, target: str, name: str
) -> None:
    folder = copied(baked, tmp_path)
    for value in ("'; touch x; '", "$(touch x)", "--x=`touch x`"):
        others = {"ENV": "staging", "TAG": "v1", "PEAK_RPS": "2", "AVERAGE_RPS": "1"}
        done = make(folder, target, *(f"{k}={v}" for k, v in (others | {name: value}).items()))
        assert done.returncode == 2, done.stdout
        assert "Traceback" not in done.stderr, done.stderr
        assert not list(folder.rglob("x"))
