"""What is not whole, ours and right does not start; what breaks training breaks no artifact."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import PYTHON, copied, manifest, serve, start_refused, train


def model_file(folder: Path) -> Path:
    return folder / "artifact" / str(manifest(folder)["files"]["model"]["path"])


def card_file(folder: Path) -> Path:
    return folder / "artifact" / str(manifest(folder)["files"]["card"]["path"])


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = manifest(folder)
    change(content)
    (folder / "artifact" / "manifest.json").write_text(json.dumps(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no artifact": (lambda f: shutil.rmtree(f / "artifact"), r"manifest\.json.*make train"),
    "no model": (lambda f: model_file(f).unlink(), r"model-.*\.joblib: No such file"),
    "no card": (lambda f: card_file(f).unlink(), r"card-.*\.html: No such file"),
    "model cut short": (lambda f: cut(model_file(f)), r"model-.*sha256.*altered or cut short"),
    "model altered": (lambda f: flip(model_file(f)), r"model-.*sha256.*altered or cut short"),
    "card altered": (lambda f: flip(card_file(f)), r"card-.*sha256.*altered or cut short"),
    "manifest no JSON": (lambda f: cut(f / "artifact/manifest.json"), r"manifest\.json: not a man"),
    "manifest of the future": (
        lambda f: edit(f, lambda m: m.update(format=99)),
        r"format 99, this service reads 1",
    ),
    "manifest without a part": (lambda f: edit(f, lambda m: m.pop("inputs")), "missing.*inputs"),
    "other scikit-learn": (
        lambda f: edit(f, lambda m: m["runtime"].update({"scikit-learn": "0.1"})),
        r"trained with scikit-learn 0\.1, but",
    ),
    "other numpy": (
        lambda f: edit(f, lambda m: m["runtime"].update(numpy="1.0")),
        r"trained with numpy 1\.0, but",
    ),
    "other Python": (
        lambda f: edit(f, lambda m: m["runtime"].update(python="3.9.1")),
        r"trained with python 3\.9, but",
    ),
    "golden score off": (
        lambda f: edit(f, lambda m: m["golden"]["predictions"][3].update(score=0.5)),
        r"golden instance 3: trained model gave .*0\.5",
    ),
    "golden label off": (
        lambda f: edit(f, lambda m: m["golden"]["predictions"][0].update(label="none")),
        r"golden instance 0: trained model gave .*none",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_artifact_is_refused(baked: Path, tmp_path: Path, damage: str) -> None:
    folder = copied(baked, tmp_path)
    harm, expected = DAMAGES[damage]
    harm(folder)
    assert re.search(expected, start_refused(folder))


def test_other_predict_is_refused(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    source = folder / "model.py"
    source.write_text(source.read_text().replace('index("malignant")', 'index("benign")'))
    assert "golden instance 0" in start_refused(folder)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "abc", "a whole number"),
        ("PORT", "70000", "between 0 and 65535"),
        ("WEB_CONCURRENCY", "abc", "a whole number"),
        ("WEB_CONCURRENCY", "-1", "between 0 and 64"),
        ("MAX_BATCH_SIZE", "0", "at least 1"),
        ("GRACEFUL_TIMEOUT_SECONDS", "-1", "at least 1"),
        ("BODY_TIMEOUT_SECONDS", "nan", "at least 0.1"),
    ],
)
def test_bad_setting_is_refused(baked: Path, name: str, value: str, expected: str) -> None:
    line = start_refused(baked, **{name: value})
    assert line == f"refusing to start: {name}='{value}': expected {expected}"


def test_bad_setting_is_refused_by_gunicorn_too(baked: Path) -> None:
    # As a container may start it, without `python -m service`.
    done = subprocess.run(
        [PYTHON, "-m", "gunicorn"],
        cwd=baked,
        env=os.environ | {"PORT": "abc"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert done.stderr.splitlines() == ["refusing to start: PORT='abc': expected a whole number"]


@pytest.mark.parametrize("name", ["PORT", "WEB_CONCURRENCY", "DRAIN_SECONDS"])
def test_empty_setting_is_its_default(baked: Path, name: str) -> None:
    # Kubernetes' way to say nothing. No port to test with is free for certain, so none is opened.
    done = subprocess.run(
        [PYTHON, "-m", "service", "--check-config"],
        cwd=baked,
        env=os.environ | {name: ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


class Bomb:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("vouched_for", [False, True])
def test_nothing_is_unpickled_that_the_manifest_does_not_vouch_for(
    baked: Path, tmp_path: Path, vouched_for: bool
) -> None:
    folder, marker = copied(baked, tmp_path), tmp_path / "ran"
    content = pickle.dumps(Bomb(marker))
    model_file(folder).write_bytes(content)
    if vouched_for:  # shows that the bomb works
        sha256 = hashlib.sha256(content).hexdigest()
        edit(folder, lambda m: m["files"]["model"].update(sha256=sha256, bytes=len(content)))
    start_refused(folder)
    assert marker.exists() == vouched_for


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "artifact").iterdir()}


def change_seed(folder: Path) -> None:
    """Make the next training differ from the last one."""
    source = folder / "model.py"
    source.write_text(source.read_text().replace("SEED = 0", "SEED = 1"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("accuracy >= 0.95", "accuracy >= 0.9999", "gate 'accuracy >= 0.9999' failed: 0.9"),
        ("accuracy >= 0.95", "no_such >= 1", "no metric 'no_such'; there are accuracy"),
        ("accuracy >= 0.95", "accuracy > 1", "GATES: 'accuracy > 1' is not of the form"),
        ("max_iter=1000", "max_iter=-1", "max_iter"),
    ],
)
def test_failed_training_leaves_the_artifact(
    baked: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    folder = copied(baked, tmp_path)
    source = folder / "model.py"
    source.write_text(source.read_text().replace(old, new))
    before = contents(folder)
    done = train(folder)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert contents(folder) == before


# Kills its own process when a system call is made for the nth time: an exact moment of a real
# crash, which a timer would hit by luck only.
KILL_AT = """
import os, runpy, signal, sys
name, nth = sys.argv[1], int(sys.argv[2])
real, calls = getattr(os, name), 0
def dying(*args, **kwargs):
    global calls
    calls += "artifact" in str(args[0]) or name == "fsync"
    if calls == nth:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(os, name, dying)
runpy.run_module("training", run_name="__main__")
"""


def train_until(folder: Path, call: str, nth: int) -> None:
    done = subprocess.run(
        [PYTHON, "-c", KILL_AT, call, str(nth)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("call", "nth", "committed"),
    [("fsync", 1, False), ("replace", 3, False), ("unlink", 1, True)],
)
def test_killed_training_leaves_an_artifact_whole(
    baked: Path, tmp_path: Path, call: str, nth: int, committed: bool
) -> None:
    folder = copied(baked, tmp_path)
    change_seed(folder)
    before = contents(folder)
    train_until(folder, call, nth)
    after = contents(folder)
    if committed:
        assert manifest(folder)["version"] != manifest(baked)["version"]
    else:  # what was begun may lie beside it
        assert before.items() <= after.items()
    with serve(folder) as service:
        version = service.post(service.body).headers["X-Model-Version"]
    assert version == manifest(folder)["version"]


def test_what_a_killed_training_left_is_removed_by_the_next(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    change_seed(folder)
    train_until(folder, "replace", 3)
    assert len(contents(folder)) > 3
    assert train(folder).returncode == 0
    assert len(contents(folder)) == 3


@pytest.mark.parametrize("seconds", [0.7, 1.5, 2.2])
def test_training_killed_at_any_time_leaves_the_artifact(
    baked: Path, tmp_path: Path, seconds: float
) -> None:
    folder = copied(baked, tmp_path)
    change_seed(folder)
    # However fast the machine, it dies in the middle: the fit never ends.
    source = folder / "model.py"
    source.write_text(
        source.read_text() + "\n\ndef build() -> Any:\n    while True:\n        pass\n"
    )
    before = contents(folder)
    process = subprocess.Popen([PYTHON, "-m", "training"], cwd=folder, stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert contents(folder) == before
