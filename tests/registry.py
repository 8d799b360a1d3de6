"""A registry of images to test against: Debian's docker-registry, with a user and a password."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from harness import START_SECONDS, free_port
from images import engine, needed

USER, PASSWORD = "ci", "secret"
# The password's hash by bcrypt, the only kind that the registry takes.
HASH = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
CONFIG = """
version: 0.1
log: {{level: warn, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {folder}/kept}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: test, path: {folder}/users}}}}
"""
# It has no certificate.
PLAIN = '[[registry]]\nlocation = "{host}"\ninsecure = true\n'


@dataclass
class Registry:
    host: str
    log: Path
    environment: dict[str, str]

    def digest(self, repository: str, tag: str) -> str:
        """Return what the registry itself calls the manifest of a tag."""
        kinds = "application/vnd.oci.image.manifest.v1+json"
        answer = requests.head(
            f"http://{self.host}/v2/{repository}/manifests/{tag}",
            auth=(USER, PASSWORD),
            headers={"Accept": f"{kinds}, application/vnd.docker.distribution.manifest.v2+json"},
            timeout=10,
        )
        answer.raise_for_status()
        return answer.headers["Docker-Content-Digest"]

    def tags(self, repository: str) -> list[str]:
        url = f"http://{self.host}/v2/{repository}/tags/list"
        return sorted(requests.get(url, auth=(USER, PASSWORD), timeout=10).json()["tags"])

    def uploads(self) -> int:
        """Return how many blobs and manifests were brought since the last time one asked."""
        lines = self.log.read_text().splitlines()
        with self.log.open("r+") as stream:
            stream.truncate()
        return sum('"PUT /v2/' in line and '" 201 ' in line for line in lines)


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """Run a registry; in its environment podman knows it, and keeps no login of yours."""
    engine()
    needed("docker-registry")
    port = free_port()
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, port=port))
    (folder / "users").write_text(f"{USER}:{HASH}\n")
    found = Registry(f"127.0.0.1:{port}", folder / "log", {})
    (folder / "registries.conf").write_text(PLAIN.format(host=found.host))
    found.environment = {
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
        "REGISTRY_USER": USER,
        "REGISTRY_PASSWORD": PASSWORD,
    }
    # Appended to, so that a test may empty it.
    with found.log.open("ab") as stream:
        command = ["docker-registry", "serve", str(folder / "config.yml")]
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    before = os.environ.copy()
    os.environ.update(found.environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                requests.get(f"http://{found.host}/v2/", timeout=5)
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline and process.poll() is None, found.log.read_text()
                time.sleep(0.05)
        yield found
    finally:
        os.environ.clear()
        os.environ.update(before)
        process.kill()
        process.wait()
