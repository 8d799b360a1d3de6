"""Real containers for the tests: built by the service's own `make image`, run by podman.

Neither a registry nor a Docker engine is needed: what the Dockerfile's FROM would pull is made here
from Debian's packages, once, and the build gets this machine's pip settings, which may be all that
knows where packages are. Both are the tests' business, so nothing of it is in the Dockerfile.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import ROOT, START_SECONDS, free_port, make, manifest

BUILD = ROOT / "build" / "containers"
BASE = "localhost/python-base:3.11"
# What the Dockerfile expects of the official image of Python.
PACKAGES = "ca-certificates,python3,python3-venv,python3-pip"
# As the manifests have it.
RESTRICTED = "--read-only --cap-drop all --security-opt no-new-privileges --memory 512m".split()


def needed(*commands: str) -> None:
    """Skip where a command is missing; in CI its absence is a failure."""
    if missing := [command for command in commands if not shutil.which(command)]:
        if os.environ.get("CI"):
            pytest.fail(f"missing: {', '.join(missing)}")
        pytest.skip(f"needs {' and '.join(missing)}")


@functools.cache
def engine() -> None:
    """Make podman usable here, once; skips where it is missing."""
    needed("podman", "buildah", "mmdebstrap")
    BUILD.mkdir(parents=True, exist_ok=True)
    conf = BUILD / "containers.conf"
    # podman raises limits by default, which not every machine allows; crun needs a cgroup v2.
    conf.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
        '[engine]\nruntime = "runc"\n'
    )
    os.environ["CONTAINERS_CONF"] = str(conf)
    # `make image` takes docker first; a client without its engine is passed over.
    os.environ["DOCKER_HOST"] = f"unix://{BUILD}/no-such-engine"


def podman(*arguments: str | Path, check: bool = True) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True)
    if check:
        assert done.returncode == 0, f"podman {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


@functools.cache
def base_image() -> str:
    """Return the image that stands in for python:3.11-slim-bookworm: Debian's own Python 3.11."""
    engine()
    tar = BUILD / "base.tar"
    if subprocess.run(["podman", "image", "exists", BASE]).returncode:
        if not tar.exists():
            partial = tar.with_suffix(".partial.tar")
            command = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm"]
            # From where this machine has its own packages.
            command += [str(partial), _debian()]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            partial.rename(tar)
        podman("import", tar, BASE)
    return BASE


def _debian() -> str:
    for file in sorted(Path("/etc/apt").rglob("*.sources")) + [Path("/etc/apt/sources.list")]:
        text = file.read_text() if file.exists() else ""
        if found := re.search(r"https?://\S+/debian/?(?=\s)", text + "\n"):
            return found[0]
    return "http://deb.debian.org/debian"


@functools.cache
def build_options() -> tuple[str, ...]:
    """Return what a build needs on this machine, on top of the Dockerfile."""
    options = ["--isolation", "chroot", "--network", "host", "--build-arg", f"BASE={base_image()}"]
    listed = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = dict(re.findall(r"^(?:global|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE))
    mounts = {Path("/etc/ssl/certs")}
    for path in re.findall(r"(?:^|\s|file://)(/\S+)", "\n".join(found.values())):
        mounts.add(Path(*Path(path).parts[:3]))  # the folder that an index keeps its files in, too
    conf = BUILD / "pip.conf"
    conf.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in found.items()))
    # As a private index would be: `make image` makes a secret of it.
    os.environ["PIP_CONFIG_FILE"] = str(conf)
    for mount in sorted(mounts):
        if mount.exists() and mount != Path("/etc/ssl"):
            options += ["--volume", f"{mount}:{mount}:ro"]
    return tuple(options)


def make_image(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `make image` in a service's folder, whether or not it works out."""
    return make(folder, "image", f"ARGS={' '.join((*build_options(), *options))}")


@functools.cache
def image(folder: Path) -> str:
    """Return the name of the image of a trained service, built once."""
    engine()
    if not manifest(folder)["runtime"]["python"].startswith("3.11."):
        pytest.skip("needs Python 3.11, as in the base image")
    done = make_image(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    name = re.search(r"^built (\S+)$", done.stdout, re.MULTILINE)
    assert name, done.stdout
    return name[1]


def inspect(name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(podman("inspect", name))
    return found[0]


@dataclass
class Container:
    """A running service in a container, or in a pod's only one."""

    name: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def logged(self) -> str:
        done = subprocess.run(["podman", "logs", self.name], capture_output=True, text=True)
        return done.stdout + done.stderr

    @property
    def pid(self) -> int:
        """Process 1 of the container, by its number outside."""
        return int(inspect(self.name)["State"]["Pid"])

    @property
    def workers(self) -> list[int]:
        pid = self.pid
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @property
    def running(self) -> bool:
        return bool(inspect(self.name)["State"]["Running"])

    def python(self, code: str) -> str:
        """Run Python in the container, as the user that the service is."""
        return podman("exec", self.name, "python", "-c", code)

    def ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=2).ok
        except requests.RequestException:
            return False

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            assert time.monotonic() < deadline and self.running, self.logged
            time.sleep(0.1)


@contextmanager
def run(name: str, *options: str, wait: bool = True, word: str = "") -> Iterator[Container]:
    """Run an image as restricted as in the cluster; yield it when it is ready.

    `word`: what stands behind the image's name, for its command.
    """
    port = free_port()
    options = (*RESTRICTED, "--publish", f"127.0.0.1:{port}:8000", *options)
    container = Container(podman("run", "--detach", *options, name, *word.split()).strip(), port)
    try:
        if wait:
            container.wait_ready()
        yield container
    finally:
        podman("rm", "--force", "--time", "0", container.name, check=False)
