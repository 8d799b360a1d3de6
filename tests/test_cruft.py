"""A service gets the template's later changes by `cruft update`, and keeps its owner's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from harness import ROOT, TEMPLATE, bake

CRUFT = Path(sys.executable).parent / "cruft"
OURS = "service/settings.py"


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(folder: Path, message: str) -> None:
    run("git", "add", "-A", cwd=folder)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    run("git", *identity, "commit", "-q", "-m", message, cwd=folder)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A git repository with the template as it lies here, uncommitted changes included."""
    folder = tmp_path / "template"
    listed = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    run("git", "init", "-q", cwd=folder)
    commit(folder, "template")
    return folder


@pytest.fixture
def service(template: Path, tmp_path: Path) -> Path:
    """A service that `cruft create` made, in a git repository of its own as its owner keeps it."""
    run(CRUFT, "create", str(template), "--no-input", "-y", "--output-dir", tmp_path, cwd=tmp_path)
    folder = tmp_path / "tumour-classifier"
    run("git", "init", "-q", cwd=folder)
    commit(folder, "generated")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def test_cruft_makes_what_cookiecutter_makes(service: Path, tmp_path: Path) -> None:
    made = contents(service)
    assert made.pop(".cruft.json")
    assert made == contents(bake(tmp_path / "plain"))


def test_update_brings_ours_and_leaves_theirs(template: Path, service: Path) -> None:
    pyproject = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())
    skipped = pyproject["tool"]["cruft"]["skip"]
    theirs = [name for name in skipped if (service / name).exists()]
    assert {"model.py", "service.toml", "loadtests/slo.toml"} <= set(theirs)

    for name in theirs:
        (service / name).write_text(f"# the owner's own {name}\n")
    commit(service, "the owner's work")
    source = template / TEMPLATE.name
    for name in [OURS, *theirs]:
        with (source / name).open("a") as stream:
            stream.write("# a change of the template\n")
    commit(template, "a change")

    run(CRUFT, "update", "-y", cwd=service)

    assert (service / OURS).read_text().endswith("# a change of the template\n")
    for name in theirs:
        assert (service / name).read_text() == f"# the owner's own {name}\n"
    assert not list(service.rglob("*.rej")) and not list(service.rglob("*.orig"))
    run(CRUFT, "check", cwd=service)
