"""An S3 of this machine: moto's server, from the template's own environment."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

BUCKET = "training"
SERVER = Path(__file__).parents[2] / "build" / "venv" / "bin" / "moto_server"


@contextmanager
def moto_server() -> Iterator[str]:
    """Run it, and set the variables that AWS's clients read; yield its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(SERVER), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_REGION": "eu-central-1",
                "AWS_ALLOW_HTTP": "true",
            }.items():
                patch.setenv(name, value)
            _make_bucket(port)
            yield url
    finally:
        process.kill()
        process.wait()


def _make_bucket(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("PUT", f"/{BUCKET}")
                assert connection.getresponse().status == 200
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
