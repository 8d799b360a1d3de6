"""A cloud to test against: moto's S3, Batch, CloudFormation, Step Functions and logs.

They are asked by AWS's own command line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from harness import START_SECONDS, free_port

BIN = Path(sys.executable).parent
SERVER = Path(__file__).parent / "states_server.py"
Json = dict[str, Any]


@dataclass
class Cloud:
    url: str

    @property
    def environment(self) -> dict[str, str]:
        """What any client of AWS needs, on this machine or in a container on its network."""
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        return keys | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }

    def aws(self, *command: str) -> Json:
        found: Json = json.loads(self._said(*command, "--output", "json") or "{}")
        return found

    def set(self, **settings: Json) -> None:
        """Change how moto behaves."""
        assert requests.post(f"{self.url}/moto-api/config", json=settings, timeout=5).ok

    def bucket(self, name: str) -> str:
        where = "LocationConstraint=eu-central-1"
        self.aws("s3api", "create-bucket", "--bucket", name, "--create-bucket-configuration", where)
        return name

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        found = self.aws("s3api", "list-objects-v2", "--bucket", bucket, "--prefix", prefix)
        return [item["Key"] for item in found.get("Contents", ())]

    def read(self, bucket: str, key: str) -> bytes:
        return self._said("s3", "cp", f"s3://{bucket}/{key}", "-")

    def _said(self, *command: str) -> bytes:
        env = os.environ | self.environment
        done = subprocess.run([BIN / "aws", *command], env=env, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@contextmanager
def cloud(log: Path, **variables: str) -> Iterator[Cloud]:
    """Run moto's server; its Batch jobs succeed at once and run nothing."""
    port = free_port()
    env = os.environ | {"MOTO_PORT": str(port)} | variables
    command = [sys.executable, str(SERVER), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=env, stdout=stream, stderr=stream)
    found = Cloud(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                found.set(batch={"use_docker": False})
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline and process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield found
    finally:
        process.kill()
        process.wait()
