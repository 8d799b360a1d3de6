"""What the tests share: generate a service, change it, train it, run it, talk to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import requests
from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "{{cookiecutter.service_slug}}"
SERVICE_VENV = Path(os.environ.get("SERVICE_VENV", ROOT / "build" / "service-venv"))
PYTHON = SERVICE_VENV / "bin" / "python"

# A busy machine may be slow to start a service; an idle one takes 2 s.
START_SECONDS = 60
REFUSE_SECONDS = 60
LINE_SECONDS = 10
NOTHING_NEW = 3  # an exit code


def bake(into: Path, **answers: str) -> Path:
    """Generate a service in the folder `into`, with the defaults for what `answers` leave out."""
    made = cookiecutter(
        str(ROOT), output_dir=str(into), no_input=True, default_config=True, extra_context=answers
    )
    return Path(made)


def make(
    folder: Path, *targets: str, venv: Path = SERVICE_VENV
) -> subprocess.CompletedProcess[str]:
    """Run a generated service's make, in the environment that all of them share, or in another."""
    # The root make that runs these tests leaves its own options in the environment.
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", f"VENV={venv}", *targets]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def train(folder: Path) -> subprocess.CompletedProcess[str]:
    """Train as `make train` does, for which it is no failure that there is nothing new."""
    done = subprocess.run(
        [PYTHON, "-m", "pipeline"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    if done.returncode == NOTHING_NEW:
        done.returncode = 0
    return done


def copied(service: Path, into: Path) -> Path:
    """Return a copy of a service, artifact and all, for a test to change."""
    return Path(shutil.copytree(service, into / service.name))


def committed(folder: Path) -> str:
    """Put a service into git, on main, and return its commit as tags have it."""
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "test"]):
        subprocess.run([*git, *command], check=True)
    done = subprocess.run(
        [*git, "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def extend_model(folder: Path, code: str) -> None:
    """Add code to a service's model.py, whose definitions it may replace."""
    with (folder / "model.py").open("a") as source:
        source.write(code)


def vouched(folder: Path) -> Path:
    """Make the artifact one of the code that is there now, as no training would.

    For models that wait or fail: training them would too.
    """
    code = "from service.source import fingerprint, files; print(fingerprint(), *files())"
    done = subprocess.run(
        [PYTHON, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    found = manifest(folder)
    found["source"]["sha256"], *found["source"]["modules"] = done.stdout.split()
    (folder / "artifact" / "manifest.json").write_text(json.dumps(found))
    return folder


def wrapped(service: Path, into: Path, before_predict: str) -> Path:
    """Return a copy of a service whose model runs some code before each prediction."""
    folder = copied(service, into)
    with (folder / "model.py").open("a") as source:
        source.write(
            "\n_predict = predict\n\n"
            "def predict(model: Any, frame: pd.DataFrame) -> Any:\n"
            f"    {before_predict}\n"
            "    return _predict(model, frame)\n"
        )
    return vouched(folder)


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "artifact" / "manifest.json").read_text())
    return found


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def behind_a_proxy() -> dict[str, str]:
    """Return the environment of a machine whose proxy, at the moment, is not there."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    proxies = dict.fromkeys(["HTTP_PROXY", "http_proxy", "ALL_PROXY"], nowhere)
    return proxies | {"NO_PROXY": "", "no_proxy": ""}


@dataclass
class Service:
    """A running service: gunicorn's arbiter and its workers."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def logged(self) -> str:
        return self.log.read_text()

    def lines(self, text: str, count: int = 1) -> list[str]:
        """Return the lines of the log with a text, once there are so many: a thread writes them."""
        deadline = time.monotonic() + LINE_SECONDS
        while len(found := [line for line in self.logged.split("\n") if text in line]) < count:
            assert time.monotonic() < deadline, self.logged
            time.sleep(0.02)
        return found

    @property
    def workers(self) -> list[int]:
        """The process ids of the arbiter's children."""
        pid = self.process.pid
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def wait_workers(self, count: int) -> list[int]:
        """Return the workers once there are `count`: the first may be ready before the last."""
        deadline = time.monotonic() + START_SECONDS
        while len(self.workers) != count:
            assert time.monotonic() < deadline, self.logged
            time.sleep(0.05)
        return self.workers

    @cached_property
    def instance(self) -> dict[str, Any]:
        """A real instance, as a client would send it."""
        found: dict[str, Any] = manifest(self.folder)["golden"]["instances"][0]
        return found

    @property
    def body(self) -> bytes:
        return json.dumps({"instances": [self.instance]}).encode()

    def post(self, body: Any, **headers: str) -> requests.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | headers
        return requests.post(f"{self.url}/predict", content, headers=sent, timeout=30)

    def predict(self, instances: list[Any]) -> list[Any]:
        response = self.post({"instances": instances})
        assert response.status_code == 200, response.text
        predictions: list[Any] = response.json()["predictions"]
        return predictions

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if requests.get(f"{self.url}/readyz", timeout=5).ok:
                    return
            except (requests.ConnectionError, requests.Timeout):  # a worker that loads by itself
                time.sleep(0.05)
        pytest.fail(f"the service did not become ready:\n{self.logged}")


def command_and_env(
    port: int, python: Path = PYTHON, /, **settings: Any
) -> tuple[list[Path | str], dict[str, str]]:
    """Return how to start a service: one worker, unless `settings` say otherwise."""
    defaults = {"BIND_HOST": "127.0.0.1", "PORT": port, "WEB_CONCURRENCY": 1}
    env = {name: str(value) for name, value in (defaults | settings).items()}
    return [python, "-m", "service"], os.environ | env


@contextmanager
def serve(
    folder: Path, python: Path = PYTHON, /, *arguments: str, **settings: Any
) -> Iterator[Service]:
    """Run the service of `folder`; yield it when it is ready; kill what is left.

    On a free port, unless settings have a platform's variable for it.
    """
    given = (settings.get(name) for name in ("AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT"))
    port = next(filter(None, given), None) or free_port()
    command, env = command_and_env(port, python, **settings)
    with tempfile.NamedTemporaryFile(prefix="service-", suffix=".log") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        service = Service(folder, process, port, Path(log.name))
        try:
            service.wait_ready()
            yield service
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # a test has stopped it
            process.wait()


def start_refused(folder: Path, **settings: Any) -> str:
    """Start a service that must refuse to; return the one line that says why."""
    command, env = command_and_env(free_port(), **settings)
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=REFUSE_SECONDS
    )
    output = done.stdout + done.stderr
    assert done.returncode not in (0, -signal.SIGKILL), output
    (line,) = done.stderr.splitlines() or pytest.fail(output)
    assert line.startswith("refusing to start: ") and "Traceback" not in output, output
    return line
