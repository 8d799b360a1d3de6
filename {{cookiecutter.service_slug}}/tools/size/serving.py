"""The service as a pod has it: so many CPUs, its image if there is one, and how long it starts."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import tomllib
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.serving import free_port, ready
from tools.size.client import post
from tools.size.errors import SizingError

ROOT = Path(__file__).parents[2]
ENGINES = ("podman", "docker")
START_SECONDS = 120.0
STOP_SECONDS = 30
POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Shape:
    """What one pod gets, and what is left to load it."""

    cpus: float
    cores: list[int]
    client_cores: list[int]


def shape(cpus: float) -> Shape:
    """Set cores apart for a pod of that many CPUs; raises SizingError if there are too few."""
    if not hasattr(os, "sched_getaffinity"):
        raise SizingError("CPUs can be pinned and counted on Linux only; run this there")
    cores, wanted = sorted(os.sched_getaffinity(0)), math.ceil(cpus)
    if len(cores) <= wanted:
        raise SizingError(
            f"--cpus {cpus:g} needs {wanted} cores for the service and one more to load it; "
            f"this machine offers {len(cores)}"
        )
    return Shape(cpus, cores[:wanted], cores[wanted:])


@dataclass(frozen=True)
class Container:
    engine: str
    image: str

    def __str__(self) -> str:
        return f"{self.image} under {self.engine}"


@dataclass(frozen=True)
class Processes:
    """The service as it lies here, pinned; without an image, or without an engine to run it."""

    why: str

    def __str__(self) -> str:
        return f"pinned processes ({self.why})"


def find(image: str | None) -> Container | Processes:
    """Return the image if an engine has it, the one that was built last if none is named."""
    name = image or _repository()
    working = []
    for engine in ENGINES:
        command = [engine, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            working.append(engine)
            if done.stdout.strip():
                return Container(engine, image or done.stdout.split()[0])
    if image:
        raise SizingError(f"no image {image} in " + (" or ".join(working) or "podman or docker"))
    if working:
        return Processes(f"{' and '.join(working)}: no image {name}")
    return Processes("neither podman nor docker runs here")


@dataclass(frozen=True)
class Running:
    """`pid` is the root of the service's processes; `start_seconds` its way to ready."""

    port: int
    pid: int
    start_seconds: float


@contextmanager
def running(what: Container | Processes, given: Shape) -> Iterator[Running]:
    """Start the service, yield it once it is ready, stop it; raises SizingError if it ends."""
    port = free_port()
    began = time.perf_counter()
    if isinstance(what, Container):
        name = f"size-{uuid.uuid4().hex[:12]}"
        _engine(what, "run", *_options(name, port, given), what.image)
        try:
            _wait(port, began, lambda: _alive(what, name))
            seconds = time.perf_counter() - began
            pid = int(_engine(what, "inspect", "--format", "{{.State.Pid}}", name))
            yield Running(port, pid, seconds)
        finally:
            subprocess.run([what.engine, "rm", "--force", name], capture_output=True)
        return
    if given.cpus != len(given.cores):
        raise SizingError(f"--cpus {given.cpus:g}: a part of a CPU needs an image ({what.why})")
    process = _start(port, given.cores)
    try:
        _wait(port, began, lambda: process.poll() is None)
        yield Running(port, process.pid, time.perf_counter() - began)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def version(service: Running) -> str:
    """Return which artifact it serves."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metadata", timeout=10) as answer:
        return str(json.load(answer)["version"])


def requests(rows: list[dict[str, Any]]) -> list[bytes]:
    """Return requests to draw from: 20 of one row to one of 50, as in loadtests/locustfile.py."""
    around = rows * (50 // len(rows) + 2)
    ones = [post("/predict", _body([row])) for row in rows]
    many = [post("/predict", _body(around[i : i + 50])) for i in range(len(rows))]
    return ones * 20 + many


def _body(rows: Sequence[object]) -> bytes:
    return json.dumps({"instances": rows}).encode()


def service_name() -> str:
    return str(_names()["name"])


def _repository() -> str:
    names = _names()
    return f"{names['image_registry']}/{names['name']}"


def _names() -> dict[str, Any]:
    return tomllib.loads((ROOT / "service.toml").read_text())


def _options(name: str, port: int, given: Shape) -> list[str]:
    """As a pod would be run. On the host's network, so that no proxy is measured with it."""
    cores = ",".join(map(str, given.cores))
    return [
        *("--detach", "--rm", f"--name={name}", "--network=host", "--read-only"),
        *("--cap-drop=all", "--security-opt=no-new-privileges", "--tmpfs=/tmp"),
        *(f"--cpus={given.cpus:g}", f"--cpuset-cpus={cores}"),
        *(f"--env=PORT={port}", "--env=BIND_HOST=127.0.0.1"),
    ]


def _engine(what: Container, verb: str, *words: str) -> str:
    done = subprocess.run([what.engine, verb, *words], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise SizingError(f"{what.engine} {verb}: {said}")
    return done.stdout.strip()


def _alive(what: Container, name: str) -> bool:
    command = [what.engine, "inspect", "--format", "{{.State.Running}}", name]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() == "true"


def _start(port: int, cores: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start the service on these cores; what is started inherits them from this thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=ROOT,
            env=os.environ | {"BIND_HOST": "127.0.0.1", "PORT": str(port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for this program, which stops the service itself.
            start_new_session=True,
        )
    finally:
        os.sched_setaffinity(0, before)


def _wait(port: int, began: float, alive: Callable[[], bool]) -> None:
    asked = 0
    while not ready(f"http://127.0.0.1:{port}"):
        asked += 1
        # To ask an engine takes long, and time of the cores that are being measured.
        if asked % 100 == 0 and not alive():
            raise SizingError("the service ended at once; see what make run says")
        if time.perf_counter() - began > START_SECONDS:
            raise SizingError(f"the service did not become ready within {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
