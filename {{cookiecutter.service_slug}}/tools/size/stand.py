"""A test stand: the service on cores of its own, as a pod has it, and clients on the others.

The service runs as it lies here, pinned, and not in its image: a pod has no limit of CPU, so cores
of its own are what its request comes to, and no engine for images is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.rows import many
from loadtests.serving import free_port, ready
from service.artifact import Manifest
from tools.size import SizingError, usage
from tools.size.client import Clients
from tools.size.measured import Step, judge

ROOT = Path(__file__).parents[2]
START_SECONDS = 120.0
HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@dataclass
class Stand:
    """The service's processes are a session; `memory_bytes` is the most they needed in a step."""

    session: int
    cores: Sequence[int]
    start_seconds: float
    clients: Clients
    memory_bytes: int = 0

    def step(self, rate: float, seconds: float) -> Step:
        used, busy = usage.cpu_seconds(self.session), usage.busy_seconds(self.cores)
        began = time.perf_counter()
        answering = self.clients.offer(rate, seconds)
        while wait(answering, timeout=0.5).not_done:
            self.memory_bytes = max(self.memory_bytes, usage.memory_bytes(self.session))
        answers = np.concatenate([part.result() for part in answering])
        elapsed = time.perf_counter() - began
        used = usage.cpu_seconds(self.session) - used
        others = usage.busy_seconds(self.cores) - busy - used
        return judge(answers, seconds, used / elapsed, max(0, others) / elapsed / len(self.cores))


@contextmanager
def stand(cpus: float, artifact: Manifest) -> Iterator[Stand]:
    """Start the service on so many cores, and its clients; raises SizingError if it cannot be."""
    cores, client_cores = split_cores(cpus)
    port, began = free_port(), time.perf_counter()
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores))]
    with subprocess.Popen(
        [*pinned, sys.executable, "-m", "service"],
        cwd=ROOT,
        env=os.environ | {"BIND_HOST": "127.0.0.1", "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            while not ready(f"http://127.0.0.1:{port}"):
                if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    raise SizingError("the service did not become ready; see what make run says")
                time.sleep(0.01)
            start_seconds = time.perf_counter() - began
            with closing(Clients(port, _requests(artifact), client_cores)) as clients:
                yield Stand(process.pid, cores, start_seconds, clients)
        finally:
            process.terminate()


def split_cores(cpus: float) -> tuple[list[int], list[int]]:
    """Return the cores of a pod and those to load it from; raises SizingError if there are none."""
    if cpus < 1 or cpus % 1:
        raise SizingError(f"{cpus:g} CPU: only whole cores can be set apart; make size CPUS=1")
    if not hasattr(os, "sched_getaffinity"):
        raise SizingError("CPUs can be pinned and counted on Linux only; run this there")
    cores, wanted = sorted(os.sched_getaffinity(0)), int(cpus)
    if len(cores) <= wanted:
        raise SizingError(
            f"{wanted} CPU needs {wanted} cores for the service and one more to load it; "
            f"this machine offers {len(cores)}"
        )
    return cores[:wanted], cores[wanted:]


def _requests(artifact: Manifest) -> list[bytes]:
    """Return requests to draw from: 20 of one row to one of many, as in loadtests/locustfile.py."""
    rows = artifact.golden.instances
    size = many(rows)
    around = rows * (size // len(rows) + 2)
    chosen = [[row] for row in rows] * 20 + [around[i : i + size] for i in range(len(rows))]
    bodies = [json.dumps({"instances": instances}).encode() for instances in chosen]
    return [f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
