"""The image, built from the Dockerfile and run: what is in it, what it may do, how it stops."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import committed, copied, make, manifest
from images import (
    RESTRICTED,
    Container,
    base_image,
    build_options,
    image,
    inspect,
    make_image,
    podman,
    run,
)

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def name(baked: Path) -> str:
    return image(baked)


@pytest.fixture(scope="module")
def container(name: str) -> Iterator[Container]:
    with run(name, "--cpus", "1") as found:
        yield found


def test_predicts(baked: Path, container: Container) -> None:
    golden = manifest(baked)["golden"]
    answer = requests.post(
        f"{container.url}/predict", json={"instances": golden["instances"]}, timeout=30
    )
    assert answer.status_code == 200
    assert answer.headers["X-Model-Version"] == manifest(baked)["version"]
    for got, expected in zip(answer.json()["predictions"], golden["predictions"], strict=True):
        assert got["label"] == expected["label"]
        assert got["score"] == pytest.approx(expected["score"])


def test_sagemaker_starts_it_by_serve(baked: Path, name: str) -> None:
    settings = ("--env", "PROTOCOLS=sagemaker", "--env", "SAGEMAKER_BIND_TO_PORT=8000")
    with run(name, *settings, word="serve") as container:
        assert requests.get(f"{container.url}/ping", timeout=10).status_code == 200
        body = {"instances": manifest(baked)["golden"]["instances"]}
        answers = [
            requests.post(f"{container.url}/{path}", json=body, timeout=30).json()
            for path in ("predict", "invocations")
        ]
        assert answers[0] == answers[1] and len(answers[0]["predictions"]) > 1


STATE = """
import json, os, shutil
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
def writable(folder):
    try:
        open(folder + "/x", "w").close()
    except OSError:
        return False
    os.remove(folder + "/x")
    return True
mine = [os.path.join(at, f) for top in ("/app", "/artifact", "/venv")
        for at, folders, files in os.walk(top) for f in folders + files
        if os.lstat(os.path.join(at, f)).st_uid]
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "capabilities": [status[k].strip() for k in ("CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "writable": [f for f in ("/", "/app", "/artifact", "/venv", "/etc", "/tmp") if writable(f)],
    "not_of_root": mine,
    "app": sorted(f for at, _, files in os.walk("/app") for f in files if "/service" not in at),
    "folders": sorted(os.listdir("/app")),
    "artifact": sorted(os.listdir("/artifact")),
    "tools": [t for t in ("gcc", "cc", "make", "git", "curl") if shutil.which(t)],
    "pip": os.path.exists("/venv/bin/pip"),
}))
"""


@pytest.fixture(scope="module")
def state(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(container.python(STATE))
    return found


def test_runs_as_nobody_in_particular(state: dict[str, Any]) -> None:
    assert (state["uid"], state["gid"], state["groups"]) == (10001, 10001, [])
    assert set(state["capabilities"]) == {"0" * 16}
    assert state["no_new_privileges"] == "1"


def test_can_write_to_tmp_only(state: dict[str, Any]) -> None:
    assert state["writable"] == ["/tmp"]
    assert state["not_of_root"] == []


def test_serves_where_not_even_tmp_can_be_written_to(baked: Path, name: str) -> None:
    with run(name, "--cpus", "1", "--read-only-tmpfs=false") as container:
        assert json.loads(container.python(STATE))["writable"] == []
        body = {"instances": manifest(baked)["golden"]["instances"]}
        assert requests.post(f"{container.url}/predict", json=body, timeout=30).ok


def test_holds_what_serving_needs_and_nothing_else(baked: Path, state: dict[str, Any]) -> None:
    files = ["gunicorn.conf.py", "model.py", "service", "service.toml", "shadow-rules.toml"]
    assert state["folders"] == files
    assert state["artifact"] == sorted(path.name for path in (baked / "artifact").iterdir())
    assert state["tools"] == [] and state["pip"] is False


def test_workers_follow_the_quota(name: str, container: Container) -> None:
    assert len(container.workers) == 1
    with run(name, "--cpus", "1.5") as other:
        deadline = time.monotonic() + 20
        while len(other.workers) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(other.workers) == 2


def test_killed_worker_leaves_no_zombie(container: Container) -> None:
    (victim,) = container.workers
    subprocess.run(["kill", "-9", str(victim)], check=True)
    deadline = time.monotonic() + 20
    while container.workers in ([], [victim]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(container.workers) == 1 and victim not in container.workers
    assert not Path(f"/proc/{victim}").exists()
    container.wait_ready()


def seconds_to_stop(container: Container) -> float:
    started = time.monotonic()
    podman("stop", "--time", "30", container.name)
    return time.monotonic() - started


def test_stops_at_once_when_told_to(name: str) -> None:
    with run(name, "--cpus", "1") as container:
        assert seconds_to_stop(container) < 5
        assert inspect(container.name)["State"]["ExitCode"] == 0


def test_stops_at_once_even_while_it_starts(name: str) -> None:
    # Process 1 is deaf to signals that it has no handler for; gunicorn sets its own late.
    with run(name, "--cpus", "1", wait=False) as container:
        deadline = time.monotonic() + 20
        while not catches_sigterm(container.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not container.ready()
        assert seconds_to_stop(container) < 5


def catches_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> 14 & 1)


def test_adds_at_most_400_megabytes(name: str, container: Container) -> None:
    added = (inspect(name)["Size"] - inspect(base_image())["Size"]) / MEGABYTE
    sizes = container.python(
        "import os\n"
        "top = '/venv/lib/python3.11/site-packages'\n"
        "for each in os.listdir(top):\n"
        "    size = sum(os.lstat(os.path.join(at, f)).st_size\n"
        "               for at, _, files in os.walk(os.path.join(top, each)) for f in files)\n"
        "    print(each.removesuffix('.libs'), size)"
    )
    packages: dict[str, float] = {}
    for line in sizes.splitlines():
        package, size = line.split()
        packages[package] = packages.get(package, 0) + int(size) / MEGABYTE
    print(f"added to the base: {added:.0f} MB")
    for package, megabytes in sorted(packages.items(), key=lambda item: -item[1])[:8]:
        print(f"  {package:16} {megabytes:4.0f} MB")
    assert added <= 400


def labels(name: str) -> dict[str, str]:
    found: dict[str, str] = inspect(name)["Labels"]
    return found


def layers(name: str) -> list[str]:
    found: list[str] = inspect(name)["RootFS"]["Layers"]
    return found


def test_change_of_code_uploads_code_and_a_new_model_the_model(
    baked: Path, name: str, tmp_path: Path
) -> None:
    folder = copied(baked, tmp_path / "code")
    with (folder / "service" / "app.py").open("a") as source:
        source.write("# changed\n")
    committed(folder)
    code = image(folder)
    # Another training: the model of the same code, for all that the image is concerned.
    folder = copied(baked, tmp_path / "model")
    found = manifest(folder)
    found["created_at"] = "2030-01-01T00:00:00+00:00"
    (folder / "artifact" / "manifest.json").write_text(json.dumps(found))
    # Times are no content: a fresh clone has others.
    for path in folder.rglob("*"):
        path.touch()
    commit = committed(folder)
    model = image(folder)

    *packages, old_model, old_code = layers(name)[:6]
    assert layers(code)[: len(packages) + 1] == [*packages, old_model]
    assert layers(code) != layers(name)
    assert layers(model)[: len(packages)] == packages
    assert old_model not in layers(model) and old_code in layers(model)
    # The name says which model, and which commit.
    assert name.endswith(f":{manifest(baked)['version']}-nogit")
    assert model.endswith(f":{manifest(baked)['version']}-{commit}")
    assert labels(model)["org.opencontainers.image.version"] == manifest(baked)["version"]
    assert labels(model)["org.opencontainers.image.revision"].startswith(commit)
    for other in {code, model} - {name}:
        podman("untag", other)


def test_a_strict_umask_makes_the_same_image(baked: Path, name: str, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    for path in folder.rglob("*"):
        if path.name not in ("requirements.lock", "packages.txt"):  # cached, and read by root only
            path.chmod(path.stat().st_mode & 0o700)
    before, umask = layers(name), os.umask(0o077)
    try:
        done = make_image(folder)
    finally:
        os.umask(umask)
    assert done.returncode == 0, done.stdout + done.stderr
    assert layers(name) == before  # of the same model and commit, so of the same name
    with run(name, "--cpus", "1"):
        pass


def altered_model(folder: Path) -> None:
    path = folder / "artifact" / manifest(folder)["files"]["model"]["path"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_answers(folder: Path) -> None:
    found = manifest(folder)
    found["golden"]["predictions"][0]["score"] = 0.5
    (folder / "artifact" / "manifest.json").write_text(json.dumps(found))


def other_versions(folder: Path) -> None:
    found = manifest(folder)
    found["runtime"]["scikit-learn"] = "1.0"
    (folder / "artifact" / "manifest.json").write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (altered_model, "the file was altered or cut short"),
        (other_answers, "golden instance 0: trained model gave"),
        (other_versions, "trained with scikit-learn 1.0, but"),
    ],
)
def test_what_the_build_runs_refuses(
    baked: Path, name: str, tmp_path: Path, tamper: Any, reason: str
) -> None:
    folder = copied(baked, tmp_path)
    tamper(folder)
    mount = f"{folder}/artifact:/artifact:ro"
    done = subprocess.run(
        ["podman", "run", "--rm", *RESTRICTED, "--volume", mount, name, "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("refusing to start: ") and reason in done.stderr


def test_there_is_no_image_of_a_tampered_artifact(baked: Path, name: str, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    altered_model(folder)
    done = make_image(folder)
    assert done.returncode != 0
    assert "the file was altered or cut short" in done.stdout + done.stderr
    assert "not done: podman did not build the image" in done.stderr
    assert "built " not in done.stdout


def test_modules_beside_model_py_are_in_the_image_and_what_else_is_there_is_not(
    baked: Path, name: str, tmp_path: Path
) -> None:
    folder = copied(baked, tmp_path)
    (folder / "limits").mkdir()
    (folder / "limits" / "__init__.py").write_text("from rates import LIMIT\n")
    (folder / "rates.py").write_text("LIMIT = 0.5\n")
    (folder / "notebook.py").write_text("# the owner's own\n")
    (folder / "limits" / "secret.txt").write_text("secret")
    (folder / "packages.txt").write_text("# a comment\n\nnetcat-openbsd  # a small one\n")
    source = (folder / "model.py").read_text()
    source = source.replace("import numpy as np", "import numpy as np\n\nimport limits")
    (folder / "model.py").write_text(source.replace("score >= 0.5", "score >= limits.LIMIT"))
    shutil.rmtree(folder / "artifact")
    done = make(folder, "retrain", f"ARGS={' '.join(build_options())}")
    assert done.returncode == 0, done.stdout + done.stderr
    with run(image(folder), "--cpus", "1") as container:
        assert requests.get(f"{container.url}/readyz", timeout=30).ok
        names = container.python(
            "import os\nfor at, _, files in os.walk('.'):\n"
            "    for f in files: print(os.path.join(at, f)[2:])"
        ).split()
        found = json.loads(container.python(STATE.replace('"curl"', '"curl", "nc"')))
    ours = {each for each in names if not each.startswith("service/")}
    assert ours == {
        "gunicorn.conf.py",
        "limits/__init__.py",
        "model.py",
        "rates.py",
        "service.toml",
        "shadow-rules.toml",
    }
    assert found["tools"] == ["nc"]
    podman("untag", image(folder))


OWN_STEP = """
from checks import SAYS
from pipeline.step import Step


class Looked(Step):
    name = "looked"

    def make(self, say):
        say(SAYS)


STEPS = [Looked]
"""


def test_retrained_in_a_container(baked: Path, name: str, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    shutil.rmtree(folder / "artifact")
    (folder / "steps.py").write_text(OWN_STEP)
    (folder / "checks.py").write_text('SAYS = "looked at"\n')
    done = make(folder, "retrain", f"ARGS={' '.join(build_options())}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "looked at" in done.stdout
    # But for the last digits: elsewhere, sums may be taken in another order.
    assert manifest(folder)["metrics"] == pytest.approx(manifest(baked)["metrics"], rel=1e-9)
