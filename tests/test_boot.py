"""Real starts and real trainings: a refusal is one line and an exit code, a kill breaks nothing.

What is refused in detail is in machinery/test_artifact.py, test_training.py and the service's own
tests/test_settings.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import (
    PYTHON,
    SERVICE_VENV,
    Service,
    copied,
    free_port,
    make,
    manifest,
    serve,
    start_refused,
    train,
    vouched,
)


def edit(source: Path, old: str, new: str) -> None:
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "artifact").iterdir()}


def test_altered_file_is_refused_before_a_worker_starts(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    path = folder / "artifact" / str(manifest(folder)["files"]["model"]["path"])
    path.write_bytes(path.read_bytes()[:-1])
    assert "sha256" in start_refused(folder)


def test_other_predict_is_refused_by_the_worker(baked: Path, tmp_path: Path) -> None:
    # Where only the golden instances, which the worker predicts, tell that the model is another.
    folder = copied(baked, tmp_path)
    edit(folder / "model.py", 'index("malignant")', 'index("benign")')
    assert "golden instance 0" in start_refused(vouched(folder))


def with_module(service: Path, into: Path) -> Path:
    """Return a copy of a service whose threshold is in a module beside model.py, trained."""
    folder = copied(service, into)
    (folder / "limits.py").write_text("LIMIT = 0.5\n")
    edit(folder / "model.py", "import numpy as np", "import numpy as np\n\nimport limits")
    edit(folder / "model.py", "score >= 0.5", "score >= limits.LIMIT")
    done = train(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


NOT_THAT = "that answers (model.py, limits.py) is not that of training"


def test_code_edited_after_training_is_refused_and_comments_are_not(
    baked: Path, tmp_path: Path
) -> None:
    folder = with_module(baked, tmp_path)
    assert manifest(folder)["source"]["modules"] == ["model.py", "limits.py"]
    edit(folder / "model.py", '"""Answer every row', '"""Say of every row')
    edit(folder / "limits.py", "LIMIT = 0.5", "# A half.\nLIMIT = (0.5)")
    assert run(folder, "-m", "service", "--check").returncode == 0

    edit(folder / "limits.py", "0.5", "0.9")
    line = f"refusing to start: the code {NOT_THAT}; run `make train`"
    assert start_refused(folder) == line
    done = run(folder, "-m", "service", "--check")
    assert (done.returncode, done.stderr.strip()) == (3, line)
    done = make(folder, "image")
    assert done.returncode and f"not done: the code {NOT_THAT}; run `make train`" in done.stderr

    edit(folder / "limits.py", "0.9", "0.5")
    edit(folder / "model.py", ">= limits.LIMIT", "> limits.LIMIT")
    assert start_refused(folder) == line


def test_make_run_trains_edited_code_again(baked: Path, tmp_path: Path) -> None:
    folder = with_module(baked, tmp_path)
    before = manifest(folder)
    with made(folder) as service:
        assert "train" not in service.logged
    edit(folder / "limits.py", "0.5", "0.6")
    with made(folder) as service:
        assert f"{NOT_THAT}\ntraining again\n" in service.logged
        version = service.post(service.body).headers["X-Model-Version"]
    assert version == manifest(folder)["version"] != before["version"]


@contextmanager
def made(folder: Path) -> Iterator[Service]:
    """Run a service by `make run`; yield it when it is ready."""
    port, log = free_port(), folder / "run.log"
    settings = {"PORT": str(port), "WEB_CONCURRENCY": "1"}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["make", "--no-print-directory", f"VENV={SERVICE_VENV}", "run"],
            cwd=folder,
            env=os.environ | settings,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            service = Service(folder, process, port, log)
            service.wait_ready()
            yield service
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


NEEDS_RICH = """

_predict = predict


def predict(model, frame):
    import rich

    return _predict(model, frame)
"""
FORGETS = """

_build = build
LIMIT = []


def build():
    LIMIT.append(0.1)
    return _build()


def predict(model, frame):
    score = model.predict_proba(frame)[:, 0]
    return {"label": np.where(score >= LIMIT[0], "benign", "malignant"), "score": score}
"""


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (NEEDS_RICH, "serving needs rich, which is not in requirements.txt: add it there"),
        (FORGETS, "served, this model would fail: golden instances: IndexError"),
    ],
)
def test_what_serving_lacks_training_notices(
    baked: Path, tmp_path: Path, code: str, reason: str
) -> None:
    folder = copied(baked, tmp_path)
    with (folder / "model.py").open("a") as source:
        source.write(code)
    edit(folder / "model.py", "accuracy >= 0.95", "accuracy >= 0")
    before = contents(folder)
    done = train(folder)
    assert done.returncode == 1 and reason in done.stdout, done.stdout + done.stderr
    assert contents(folder) == before


def test_what_is_only_there_for_training_may_be_used_there(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    edit(folder / "model.py", "data = load", "import rich  # noqa\n    data = load")
    edit(folder / "model.py", "import numpy as np", "import numpy as np\nimport scipy  # noqa")
    edit(folder / "requirements.txt", "msgspec==", "msgspec>=")
    done = train(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    runtime = manifest(folder)["runtime"]
    assert runtime.keys() == {"python", "scikit-learn", "numpy", "joblib", "pandas", "scipy"}
    assert "requirements.txt does not pin msgspec: write msgspec==" in done.stdout


def test_bad_setting_is_refused(baked: Path) -> None:
    line = start_refused(baked, WEB_CONCURRENCY="abc")
    assert line == "refusing to start: WEB_CONCURRENCY='abc': expected a whole number"


def run(folder: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYTHON, *command],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_bad_setting_is_refused_by_gunicorn_too(baked: Path) -> None:
    # As a container may start it, without `python -m service`.
    done = run(baked, "-m", "gunicorn", PORT="abc")
    assert done.returncode == 3
    assert done.stderr.splitlines() == ["refusing to start: PORT='abc': expected a whole number"]


@pytest.mark.parametrize("name", ["PORT", "WEB_CONCURRENCY", "DRAIN_SECONDS"])
def test_empty_setting_is_its_default(baked: Path, name: str) -> None:
    # Kubernetes' way to say nothing. No port to test with is free for certain, so none is opened.
    done = run(baked, "-m", "service", "--check-config", **{name: ""})
    assert done.returncode == 0, done.stderr


def test_failed_training_says_so_and_leaves_the_artifact(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    edit(folder / "model.py", "accuracy >= 0.95", "accuracy >= 0.9999")
    before = contents(folder)
    done = train(folder)
    assert done.returncode == 1
    assert "not trained: gate 'accuracy >= 0.9999' failed: 0.9" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert contents(folder) == before


# Ends its own process when the manifest of a new artifact is about to become the current one: an
# exact moment, which a timer would hit by luck only.
KILLED = """
import os, runpy, signal
replace = os.replace
def dying(source, target, **options):
    if "manifest" in str(target):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(source, target, **options)
os.replace = dying
runpy.run_module("training", run_name="__main__")
"""


def test_killed_training_leaves_an_artifact_that_serves(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    edit(folder / "model.py", "SEED = 0", "SEED = 1")
    before = contents(folder)
    assert run(folder, "-c", KILLED).returncode == -signal.SIGKILL
    left = contents(folder)
    assert before.items() < left.items()
    edit(folder / "model.py", "SEED = 1", "SEED = 0")  # for the service to be of the code it has
    with serve(folder) as service:
        assert service.post(service.body).headers["X-Model-Version"] == manifest(baked)["version"]
    assert train(folder).returncode == 0
    assert len(contents(folder)) == len(before) == 3
