"""A service on this machine for as long as somebody loads it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
START_SECONDS = 60
# A proxy that the environment names knows nothing of this machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def serving(
    env: Mapping[str, str], folder: Path = ROOT, log: IO[bytes] | None = None
) -> Iterator[str]:
    """Start the service of `folder` on a free port and yield its address once it is ready.

    What it says goes to `log`, or to where this program's output goes.
    """
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=folder,
        env=dict(env) | {"BIND_HOST": "127.0.0.1", "PORT": str(port)},
        stdout=log,
        stderr=log,
    )
    host = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready(host):
            if process.poll() is not None or time.monotonic() > deadline:
                said = f"; see {log.name}" if log else ""
                sys.exit(f"the service did not become ready within {START_SECONDS} s{said}")
            time.sleep(0.2)
        yield host
    finally:
        process.terminate()
        process.wait()


def ready(host: str) -> bool:
    """Return whether the service at this address takes requests."""
    try:
        with _direct.open(f"{host}/readyz", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def free_port(wanted: int = 0) -> int:
    """Return a free port of this machine: `wanted`, or any other if that is taken."""
    for number in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no port is free")


def environment(folder: Path = ROOT) -> dict[str, str]:
    """Return this program's environment, for another program of the service's folder.

    Locust puts the folder of its file on the path, not the service's.
    """
    return os.environ | {"PYTHONPATH": str(folder)}
