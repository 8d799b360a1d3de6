"""A service gets the template's later changes by `cruft update`, and keeps its owner's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from harness import ROOT, TEMPLATE, bake, make

CRUFT = Path(sys.executable).parent / "cruft"
OURS = "service/settings.py"
# The last commit before services became half as large: the largest update there has been.
BEFORE = "a4f2fabd7639579cc1306c532b00b32fcf6e4384"


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(folder: Path, message: str) -> None:
    run("git", "add", "-A", cwd=folder)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    run("git", *identity, "commit", "-q", "--allow-empty", "-m", message, cwd=folder)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A clone of this repository, with the template as it lies here as its last commit."""
    folder = tmp_path / "template"
    run("git", "clone", "-q", ROOT, folder, cwd=tmp_path)
    run("git", "rm", "-qr", ".", cwd=folder)
    listed = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    commit(folder, "template")
    return folder


def create(template: Path, into: Path, *options: str) -> Path:
    """Let cruft make a service, in a git repository of its own as its owner keeps it."""
    command = [str(CRUFT), "create", str(template), "--no-input", "-y", "--output-dir", str(into)]
    run(*command, *options, cwd=into)
    folder = into / "tumour-classifier"
    run("git", "init", "-q", cwd=folder)
    commit(folder, "generated")
    return folder


@pytest.fixture
def service(template: Path, tmp_path: Path) -> Path:
    return create(template, tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def owners(service: Path) -> list[str]:
    """Return the files that updates leave alone."""
    pyproject = tomllib.loads((service / "pyproject.toml").read_text())
    return [name for name in pyproject["tool"]["cruft"]["skip"] if (service / name).exists()]


def update(service: Path) -> None:
    run(CRUFT, "update", "-y", cwd=service)
    assert not list(service.rglob("*.rej")) and not list(service.rglob("*.orig"))
    assert not run("git", "diff", "--name-only", "--diff-filter=U", cwd=service), "conflicts"
    run(CRUFT, "check", cwd=service)


def test_cruft_makes_what_cookiecutter_makes(service: Path, tmp_path: Path) -> None:
    made = contents(service)
    assert made.pop(".cruft.json")
    assert made == contents(bake(tmp_path / "plain"))


def test_update_brings_ours_and_leaves_theirs(template: Path, service: Path) -> None:
    theirs = owners(service)
    assert {"model.py", "service.toml", "loadtests/slo.toml"} <= set(theirs)

    for name in theirs:
        (service / name).write_text(f"# the owner's own {name}\n")
    commit(service, "the owner's work")
    source = template / TEMPLATE.name
    for name in [OURS, *theirs]:
        with (source / name).open("a") as stream:
            stream.write("# a change of the template\n")
    commit(template, "a change")

    update(service)

    assert (service / OURS).read_text().endswith("# a change of the template\n")
    for name in theirs:
        assert (service / name).read_text() == f"# the owner's own {name}\n"


def test_another_ci_system_is_an_update(service: Path, tmp_path: Path) -> None:
    run(CRUFT, "update", "-y", "--variables-to-update", '{"ci": "gitlab"}', cwd=service)
    commit(service, "now on GitLab")
    found = contents(service)
    assert found.pop(".cruft.json")
    assert found == contents(bake(tmp_path / "gitlab", ci="gitlab"))
    update(service)


def edit_as_the_changelog_says(service: Path) -> None:
    """Do what an update cannot: in the files that are the owner's."""
    settings = service / "k8s" / "base" / "settings.env"
    renamed = settings.read_text().replace("GRACEFUL_TIMEOUT=", "GRACEFUL_TIMEOUT_SECONDS=")
    settings.write_text(renamed)
    for overlay in (service / "k8s" / "overlays").glob("*/kustomization.yaml"):
        lines = overlay.read_text().splitlines()
        lines = [line for line in lines if "../../components/shadow" not in line]
        lines.insert(lines.index("components:") + 1, "  - release")
        overlay.write_text("\n".join(lines) + "\n")


def test_update_from_the_larger_services_of_before(template: Path, tmp_path: Path) -> None:
    known = ["git", "cat-file", "-e", f"{BEFORE}^{{commit}}"]
    if subprocess.run(known, cwd=template, capture_output=True).returncode:
        pytest.skip(f"needs the history up to {BEFORE[:7]}, which a shallow clone has not")
    service = create(template, tmp_path, "--checkout", BEFORE)
    theirs = owners(service)
    for name in theirs:
        with (service / name).open("a") as stream:
            stream.write("# the owner's own\n")
    source = service / "model.py"
    source.write_text(source.read_text().replace("SEED = 0", "SEED = 1"))
    (service / "tests" / "test_mine.py").write_text("def test_mine() -> None:\n    pass\n")
    commit(service, "the owner's work")
    before = contents(service)

    update(service)

    theirs.append("tests/test_mine.py")
    after = contents(service)
    assert {name: after.pop(name) for name in theirs} == {name: before[name] for name in theirs}
    fresh = contents(bake(tmp_path / "fresh"))
    after.pop(".cruft.json")
    assert after == {name: content for name, content in fresh.items() if name not in theirs}
    edit_as_the_changelog_says(service)
    done = make(service, "test")
    assert done.returncode == 0, done.stdout + done.stderr
