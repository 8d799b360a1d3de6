"""Real starts and real trainings: a refusal is one line and an exit code, a kill breaks nothing.

What is refused in detail is in machinery/test_artifact.py, test_training.py and the service's own
tests/test_settings.py.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from harness import (
    PYTHON,
    SERVICE_VENV,
    START_SECONDS,
    Service,
    command_and_env,
    copied,
    edit,
    extend_model,
    free_port,
    make,
    manifest,
    serve,
    start_refused,
    train,
    vouched,
    wrapped,
)
from kinds import Kind


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


# What a worker that starts may do: be told no, die, or end by the code that stops all of gunicorn.
FAILS_TO_START = {
    "refused": "raise OSError('the store is away')",
    "killed": "os.kill(os.getpid(), signal.SIGSEGV)",
    "exits": "os._exit(3)",
}


@pytest.mark.parametrize("how", FAILS_TO_START)
def test_worker_that_cannot_start_is_tried_again_and_stops_no_other(
    baked: Path, tmp_path: Path, how: str
) -> None:
    # A worker calls the model with one row once while it warms up, and again for a request.
    ones = "with open(f'{os.getpid()}.ones', 'a') as ones: ones.write('1' * (len(frame) == 1))"
    fails = f"if os.path.exists('away') and len(frame) > 1: {FAILS_TO_START[how]}"
    folder = wrapped(baked, tmp_path, f"import os, signal\n    {ones}\n    {fails}")
    with serve(folder, WEB_CONCURRENCY=2) as service:
        healthy, victim = service.wait_workers(2)
        both = [folder / f"{pid}.ones" for pid in (healthy, victim)]
        deadline = time.monotonic() + START_SECONDS
        while not all(path.exists() and len(path.read_text()) > 1 for path in both):
            assert service.post(service.body).status_code == 200
            assert time.monotonic() < deadline, service.logged
        (folder / "away").touch()
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        while "A worker did not start, 3 in a row: trying again in 4 s" not in service.logged:
            assert service.post(service.body).status_code == 200
            assert time.monotonic() < deadline, service.logged
        (folder / "away").unlink()
        assert service.workers == [healthy]
        service.wait_workers(2)
        time.sleep(1)
        assert healthy in service.wait_workers(2)
        assert service.logged.count("Booting worker") == 6, service.logged

    (folder / "away").touch()
    assert run(folder, "-m", "service", PORT=str(free_port()), WEB_CONCURRENCY="2").returncode == 3


# CDLL releases the interpreter while it waits, PyDLL does not.
@pytest.mark.parametrize("library", ["CDLL", "PyDLL"])
def test_start_that_is_stuck_is_told_of_and_ended(
    baked: Path, tmp_path: Path, library: str
) -> None:
    folder = wrapped(baked, tmp_path, f"import ctypes; ctypes.{library}(None).sleep(1000)")
    edit(folder / "service/arbiter.py", "START_SECONDS = 120", "START_SECONDS = 10")
    edit(folder / "service/arbiter.py", "TELL_AFTER_SECONDS = 5", "TELL_AFTER_SECONDS = 1")
    done = run(folder, "-m", "service", PORT=str(free_port()), WEB_CONCURRENCY="1")
    assert done.returncode == 3
    assert "is still starting after 1 s" in done.stdout
    assert "did not start in 10 s" in done.stdout


@pytest.mark.parametrize(
    ("library", "said"), [("CDLL", "The model did not load in 10 s"), ("PyDLL", "Timeout")]
)
def test_load_that_is_stuck_before_any_worker_is_told_of_and_ended(
    baked: Path, tmp_path: Path, library: str, said: str
) -> None:
    folder = copied(baked, tmp_path)
    extend_model(folder, f"\n__import__('ctypes').{library}(None).sleep(1000)\n")
    vouched(folder)
    edit(folder / "service/arbiter.py", "START_SECONDS = 120", "START_SECONDS = 10")
    edit(folder / "service/arbiter.py", "TELL_AFTER_SECONDS = 5", "TELL_AFTER_SECONDS = 1")
    done = run(folder, "-m", "service", PORT=str(free_port()), WEB_CONCURRENCY="1")
    assert done.returncode == 1
    assert "is still loading after 2 s" in done.stdout or library == "PyDLL"
    assert said in done.stdout + done.stderr


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

POOL_MADE_EARLY = """
{imports}

POOL = ThreadPool{kind}(2)
_predict = predict


def predict(model, frame):
    return list(POOL.map(lambda part: _predict(model, part), [frame]))[0]
"""
EXECUTOR = POOL_MADE_EARLY.format(
    imports="from concurrent.futures import ThreadPoolExecutor", kind="Executor"
)
THREAD_POOL = POOL_MADE_EARLY.format(imports="from multiprocessing.pool import ThreadPool", kind="")
WAITS = "served, this model would fail: predict would wait for ever for a thread, a pool"

# As long as nobody waits for its answers, a Pool looks innocent.
STUCK_WHEN_SERVED = """
import multiprocessing
_predict = predict


def predict(model, frame):
    if multiprocessing.get_start_method() == "spawn":  # served
        with multiprocessing.Pool(1) as pool:
            pool.map(abs, [-1])
    return _predict(model, frame)
"""


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (NEEDS_RICH, "serving needs rich, which is not in requirements.txt: add it there"),
        (STUCK_WHEN_SERVED, "served, this model would not answer within 30 s"),
        (FORGETS, "served, this model would fail: golden instances: IndexError"),
        (EXECUTOR, WAITS),
        (THREAD_POOL, WAITS),
    ],
)
def test_what_serving_lacks_training_notices(
    baked: Path, tmp_path: Path, code: str, reason: str
) -> None:
    folder = copied(baked, tmp_path)
    extend_model(folder, code)
    edit(folder / "model.py", "accuracy >= 0.95", "accuracy >= 0")
    if code == STUCK_WHEN_SERVED:
        edit(folder / "service/arbiter.py", "START_SECONDS = 120", "START_SECONDS = 30")
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


OPTIONS = "gunicorn's options (GUNICORN_CMD_ARGS):"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"WEB_CONCURRENCY": "abc"}, "WEB_CONCURRENCY='abc': expected a whole number"),
        ({"SEND_TIMEOUT_SECONDS": "inf"}, "SEND_TIMEOUT_SECONDS='inf': expected between 0.1 and"),
        ({"BIND_HOST": "192.0.2.1"}, "cannot listen: Invalid address: ('192.0.2.1', "),
        ({"BIND_HOST": "unix:/no/socket"}, "cannot listen: connection to /no/socket failed: [Err"),
        ({"BIND_HOST": "unix:/dev/null"}, "cannot listen: '/dev/null' is not a socket"),
        ({"GUNICORN_CMD_ARGS": "--nonsense"}, f"{OPTIONS} unrecognized arguments: --nonsense"),
        ({"GUNICORN_CMD_ARGS": "--workers=x"}, f"{OPTIONS} argument -w/--workers: invalid int"),
        ({"GUNICORN_CMD_ARGS": "--bind '"}, f"{OPTIONS} No closing quotation"),
        ({"GUNICORN_CMD_ARGS": "--bind a:b"}, f"{OPTIONS} 'b' is not a valid port number"),
        ({"GUNICORN_CMD_ARGS": "--keep-alive=-1"}, f"{OPTIONS} Value must be positive: -1"),
        ({"GUNICORN_CMD_ARGS": "--certfile=/no/file"}, 'cannot listen: certfile "/no/file" does'),
        (
            {"GUNICORN_CMD_ARGS": "--worker-tmp-dir=/no"},
            "no place for the workers' heartbeats: /no",
        ),
    ],
)
def test_a_bad_environment_is_refused(baked: Path, settings: dict[str, str], reason: str) -> None:
    assert start_refused(baked, **settings).startswith(f"refusing to start: {reason}")


def test_a_port_in_use_is_refused(live: Service) -> None:
    where = f"cannot listen: Connection in use: ('127.0.0.1', {live.port})"
    assert start_refused(live.folder, PORT=live.port) == f"refusing to start: {where}"


@pytest.mark.parametrize(
    ("addition", "reason"),
    [
        ("def (", "SyntaxError: invalid syntax (model.py, line "),
        ("import no_such", "ModuleNotFoundError: No module named 'no_such' (model.py, line "),
        ("raise SystemExit(0)", "SystemExit: 0 (model.py, line "),
        ("raise OSError('one\\ntwo')", "OSError: one two (model.py, line "),
        ("import broken", "ZeroDivisionError: division by zero (broken.py, line 1)"),
        ("del predict", "ImportError: cannot import name 'predict' from 'model'"),
    ],
)
def test_a_broken_model_py_is_refused_with_file_and_line(
    baked: Path, tmp_path: Path, addition: str, reason: str
) -> None:
    folder = copied(baked, tmp_path)
    (folder / "broken.py").write_text("1 / 0\n")
    extend_model(folder, f"{addition}\n")
    assert start_refused(folder).startswith(f"refusing to start: model.py: {reason}")


def test_a_python_without_the_packages_is_refused(baked: Path) -> None:
    done = run(baked, "-S", "-m", "service")
    (line,) = done.stderr.splitlines()
    assert line.startswith("refusing to start: No module named 'msgspec'; this Python is ")
    assert done.returncode


class Client(HTTPConnection):
    """A client of a service that listens at `host`, as BIND_HOST has it."""

    def __init__(self, host: str, port: int) -> None:
        to = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1", "[::1]": "::1"}
        super().__init__(to.get(host, host), port, timeout=30)
        self.path = host.removeprefix("unix:") if host.startswith("unix:") else ""

    def connect(self) -> None:
        if self.path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(self.path)
        else:
            super().connect()

    def ask(self, method: str, route: str, body: Any = None) -> tuple[int, bytes]:
        self.request(method, route, body, {"Content-Type": "application/json"})
        answer = self.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "0.0.0.0", "unix:{}/service.socket"])
def test_listens_where_it_is_told_to(baked: Path, tmp_path: Path, host: str) -> None:
    host, port, log = host.format(tmp_path), free_port(), tmp_path / "log"
    command, env = command_and_env(port, BIND_HOST=host)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=baked, env=env, stdout=stream, stderr=stream, start_new_session=True
        )
    service, status = Service(baked, process, port, log), 0
    try:
        deadline = time.monotonic() + START_SECONDS
        while status != 200:
            assert time.monotonic() < deadline and process.poll() is None, service.logged
            time.sleep(0.05)
            with suppress(OSError), closing(Client(host, port)) as client:
                status, _ = client.ask("GET", "/readyz")
        with closing(Client(host, port)) as client:
            expected = client.ask("POST", "/predict", service.body)
            assert expected[0] == 200 and b"label" in expected[1]
            # In pieces, which is a request for gunicorn; then again, on the same connection.
            assert client.ask("POST", "/predict", iter([service.body])) == expected
            assert client.ask("POST", "/predict", service.body) == expected
        if host.startswith("unix:"):
            in_use = f"refusing to start: cannot listen: {tmp_path}/service.socket is in use"
            assert start_refused(baked, BIND_HOST=host) == in_use
        process.terminate()
        assert process.wait(20) == 0
        assert "Traceback" not in service.logged and not (tmp_path / "service.socket").exists()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    ("value", "dtype", "write"),
    [
        ("__import__('decimal').Decimal('1.5')", "decimal128(5, 2)", 'astype("float64")'),
        ("[1.0]", "list_(pa.float64())", "pd.DataFrame(frame['x'].tolist())"),
    ],
)
def test_columns_of_pyarrow_that_no_request_can_carry_are_refused(
    baked: Path, tmp_path: Path, value: str, dtype: str, write: str
) -> None:
    kind = Kind("pyarrow_dtypes")
    folder = kind.service(baked, tmp_path)
    column = f"pd.Series([{value}] * len(frame), dtype=pd.ArrowDtype(pa.{dtype}))"
    edit(folder / "model.py", "    return frame,", f"    frame['x'] = {column}\n    return frame,")
    done = make(folder, "train", venv=kind.venv)
    assert done.returncode and "not trained: " in done.stdout, done.stdout + done.stderr
    assert "column 'x'" in done.stdout and write in done.stdout


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


@pytest.mark.parametrize(
    ("name", "value"),
    # Empty is Kubernetes' way to say nothing. gunicorn reads WEB_CONCURRENCY too, and not as we do.
    [
        ("PORT", ""),
        ("WEB_CONCURRENCY", ""),
        ("WEB_CONCURRENCY", "2.0"),
        ("WEB_CONCURRENCY", "65"),
        ("DRAIN_SECONDS", ""),
    ],
)
def test_an_unusual_setting_is_understood(baked: Path, name: str, value: str) -> None:
    # No port to test with is free for certain, so none is opened.
    done = run(baked, "-m", "service", "--check-config", **{name: value})
    said = [line for line in done.stderr.splitlines() if "is still loading" not in line]
    assert (done.returncode, said) == (0, [])


def test_failed_training_says_so_and_leaves_the_artifact(baked: Path, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    edit(folder / "model.py", "accuracy >= 0.95", "accuracy >= 0.9999")
    before = contents(folder)
    done = train(folder)
    assert done.returncode == 1
    assert "refused: It fails gates: accuracy >= 0.9999 (reached 0.9" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert contents(folder) == before


# Ends its own process when the manifest of a new artifact is about to become the current one: an
# exact moment, which a timer would hit by luck only.
KILLED = """
import os, runpy, signal
replace = os.replace
def dying(source, target, **options):
    if str(target) == "artifact/manifest.json":
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(source, target, **options)
os.replace = dying
runpy.run_module("pipeline", run_name="__main__")
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
