"""`make demo`: generate a service, train it, serve it, call it, and show how each is done."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent
HOME = ROOT / "build" / "demo"
VENV = Path(os.environ.get("SERVICE_VENV", ROOT / "build" / "service-venv"))
START_SECONDS = 60


class Failure(Exception):
    """The demo cannot go on; the message is the one line that says why."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the prediction")
    once = parser.parse_args().once
    # A proxy that the environment names knows nothing of this machine.
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "localhost"
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"{excepted},127.0.0.1"
    # Whoever stops us, the service must not outlive us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Python has no handler of Ctrl-C where the caller ignores it: a script's `&`, nohup.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run(once)
    except Failure as failure:
        print(f"demo failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 0 if not once else 130
    return 0


def run(once: bool) -> None:
    started = time.monotonic()
    folder = generate()
    step(f"generated {folder.relative_to(ROOT)}")

    command = ["make", "--no-print-directory", f"VENV={VENV}", "train"]
    step("training it: make train")
    if subprocess.run(command, cwd=folder).returncode:
        raise Failure(f"`make train` failed in {folder}")

    with served(folder) as url:
        step(f"serving it on {url}")
        predict(folder, url)
        step("pages")
        print(f"    model card   {url}/")
        print(f"    try it       {url}/docs")
        print(f"\nThis took {time.monotonic() - started:.0f} s. The service is in {folder}")
        if not once:
            print("Press Ctrl-C to stop.", flush=True)
            signal.pause()


def step(text: str) -> None:
    print(f"\n==> {text}", flush=True)


def generate() -> Path:
    # Anew: what a demo before this one left, or somebody edited in it, must not matter.
    shutil.rmtree(HOME, ignore_errors=True)
    try:
        made = cookiecutter(str(ROOT), output_dir=str(HOME), no_input=True, default_config=True)
    except Exception as error:
        raise Failure(f"cookiecutter: {error}") from error
    return Path(made)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run the service on a free port and yield its address once it is ready."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = folder / "demo.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [VENV / "bin" / "python", "-m", "service"],
            cwd=folder,
            env=os.environ | {"BIND_HOST": "127.0.0.1", "PORT": str(port)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us: we stop the service, in its own time.
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(f"{url}/readyz"):
                if process.poll() is not None or time.monotonic() > deadline:
                    last = log.read_text().strip().rpartition("\n")[2]
                    raise Failure(f"the service did not become ready: {last or 'no output'}")
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def predict(folder: Path, url: str) -> None:
    """Send a real instance, one that training kept aside, and show request and answer."""
    manifest = json.loads((folder / "artifact" / "manifest.json").read_text())
    instance = manifest["golden"]["instances"][0]
    request = folder / "request.json"
    request.write_text(json.dumps({"instances": [instance]}, indent=1) + "\n")
    command = ["curl", "--fail-with-body", "-sS", f"{url}/predict"]
    command += ["-H", "Content-Type: application/json", "-d", f"@{request.relative_to(ROOT)}"]

    step("calling it")
    print(f"    $ {shlex.join(command)}")
    print(f"    > {shortened(instance)}")
    answer = curl(command) if shutil.which("curl") else post(f"{url}/predict", request)
    print(f"    < {answer.strip()}")
    check(answer, manifest["golden"]["predictions"][0])


def shortened(instance: dict[str, Any], shown: int = 3) -> str:
    """Return a request of one instance on one line, with what does not fit counted."""
    first = json.dumps(dict(list(instance.items())[:shown]))
    more = len(instance) - shown
    return '{"instances": [' + (f"{first[:-1]}, … {more} more}}" if more > 0 else first) + "]}"


def curl(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"curl: {(done.stderr + done.stdout).strip()}")
    return done.stdout


def post(url: str, request: Path) -> str:
    headers = {"Content-Type": "application/json"}
    try:
        sent = urllib.request.Request(url, request.read_bytes(), headers)
        with urllib.request.urlopen(sent, timeout=30) as response:
            return str(response.read().decode())
    except OSError as error:
        raise Failure(f"{url}: {error}") from error


def check(answer: str, expected: dict[str, Any]) -> None:
    """Raise Failure unless the service says what the model said when it was trained."""
    try:
        given = json.loads(answer)["predictions"][0]
    except (ValueError, LookupError, TypeError):
        raise Failure(f"not a prediction: {answer[:200]}") from None
    first = next(iter(expected))
    if given.keys() != expected.keys() or given[first] != expected[first]:
        raise Failure(f"the model said {expected} when it was trained, the service says {given}")


if __name__ == "__main__":
    sys.exit(main())
