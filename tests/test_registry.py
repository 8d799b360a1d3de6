"""From a commit to the registry and back, by `make pipelines`: podman, a real registry."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import bake, committed, edit, extend_model, make, manifest
from images import RESTRICTED, build_options, podman
from registry import Registry, registry

# Which data: a file with the number of the first rows to leave out.
DATA = """
_load_data = load_data


def load_data() -> Any:
    import os

    frame, truth = _load_data()
    first = int(open(os.environ["DATA"]).read())
    return frame[first:], truth[first:]
"""
REPOSITORY = "ml/tumour-classifier"
INSTALLS = re.compile(r"pip --python /venv/bin/python install")


pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def service(there: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A service in git, whose images go there; what is left of them here is removed."""
    folder = bake(tmp_path_factory.mktemp("pushed"), image_registry=f"{there.host}/ml")
    extend_model(folder, DATA)
    committed(folder)
    yield folder
    forget(there)


def forget(there: Registry) -> None:
    """Remove the registry's images from this machine."""
    names = podman("images", "--filter", f"reference={there.host}/*/*", "--quiet").split()
    if names:
        podman("rmi", "--force", *{*names})


def head(folder: Path) -> str:
    command = ["git", "-C", str(folder), "rev-parse", "--short=8", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def deliver(folder: Path, data: Path, first: int) -> str:
    """Train on other data, in a store that is a folder; return what was said."""
    data.write_text(f"{first}\n")
    values = [f"DATA={data}", f"STORE={data.parent / 'store'}", "REUSE=1"]
    options = f"ARGS={' '.join(build_options())}"
    done = make(folder, *values, options, "retrain", "image", "push")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_delivered_twice_and_built_once(there: Registry, service: Path, tmp_path: Path) -> None:
    commit = head(service)
    said = deliver(service, tmp_path / "data", 0)
    assert f"train-{commit} is built here: podman pull: " in said and INSTALLS.search(said)
    first = (service / "report" / "image.txt").read_text()
    tag, _, digest = first.strip().partition("@")
    version = manifest(service)["version"]
    assert tag == f"{version}-{commit}" and digest == there.digest(REPOSITORY, tag)
    assert there.tags(REPOSITORY) == sorted([f"base-{commit}-py3.11", f"train-{commit}", tag])
    assert manifest(service)["source"]["git_sha"].startswith(commit)
    assert there.uploads() > 5

    # The same again brings nothing.
    assert make(service, "push").returncode == 0
    assert (service / "report" / "image.txt").read_text() == first and there.uploads() == 0

    # Elsewhere, after the release was committed: other data make another model, of the same images.
    elsewhere = tmp_path / service.name
    subprocess.run(["git", "clone", "-q", service, elsewhere], check=True)
    edit(elsewhere / "k8s" / "base" / "hpa.yaml", "minReplicas: 2", "minReplicas: 3")
    committed(elsewhere)
    forget(there)
    said = deliver(elsewhere, tmp_path / "data", 20)
    for name in (f"train-{commit}", f"base-{commit}-py3.11"):
        assert f"{name} is taken from the registry" in said
    assert not INSTALLS.search(said)
    second = (elsewhere / "report" / "image.txt").read_text().strip()
    assert second.partition("@")[0] == f"{manifest(elsewhere)['version']}-{commit}"
    assert manifest(elsewhere)["version"] != version
    # A layer with the model, one with the code that is there already, the image's configuration.
    assert there.uploads() <= 4

    # What is deployed is what was pushed, by its digest.
    forget(there)
    name = f"{there.host}/{REPOSITORY}@{second.partition('@')[2]}"
    done = subprocess.run(
        ["podman", "run", "--rm", *RESTRICTED, name, "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_refused(there: Registry, service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "wrong")
    done = make(service, "push")
    assert done.returncode == 2
    assert re.search(r"not done: podman login: .*(unauthorized|invalid)", done.stderr), done.stderr
