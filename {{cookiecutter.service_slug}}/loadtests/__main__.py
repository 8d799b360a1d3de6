"""`make loadtest`: run Locust against a service, one that runs already or one started for it."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parent
START_SECONDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__)
    parser.add_argument("host", nargs="?", help="like http://localhost:8000; default: start one")
    parser.add_argument("--ui", action="store_true", help="drive it from Locust's own page")
    arguments = parser.parse_args()
    if arguments.host:
        return locust(arguments.host, arguments.ui)
    with service() as host:
        return locust(host, arguments.ui)


def locust(host: str, ui: bool) -> int:
    command = [sys.executable, "-m", "locust", "--host", host, "-f"]
    if ui:  # where users are set on the page, a shape would overrule them
        print("open http://localhost:8089")
        command += [f"{FOLDER}/locustfile.py", "--web-host", "127.0.0.1"]
    else:
        command += [f"{FOLDER}/locustfile.py,{FOLDER}/steps.py", "--headless"]
        command += ["--html", f"{FOLDER}/report.html", "--only-summary", "--loglevel", "WARNING"]
    try:
        status = subprocess.run(command, cwd=FOLDER.parent, env=environment()).returncode
    except KeyboardInterrupt:
        return 130
    if not ui:
        print(f"report: {FOLDER.name}/report.html")
    return status


@contextmanager
def service() -> Iterator[str]:
    """Start this service on a free port and yield its address once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=FOLDER.parent,
        env=environment() | {"BIND_HOST": "127.0.0.1", "PORT": str(port)},
    )
    host = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready(host):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the service did not become ready within {START_SECONDS} s")
            time.sleep(0.2)
        yield host
    finally:
        process.terminate()
        process.wait()


def ready(host: str) -> bool:
    try:
        with urllib.request.urlopen(f"{host}/readyz", timeout=1):
            return True
    except (urllib.error.URLError, TimeoutError):
        return False


def environment() -> dict[str, str]:
    # Locust puts the folder of its file on the path, not the service's.
    return os.environ | {"PYTHONPATH": str(FOLDER.parent)}


if __name__ == "__main__":
    sys.exit(main())
