"""A server's life: started on its core, checked once it answers, stopped with all its children."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from loadtests import measure
from loadtests.agent import Failure
from loadtests.environments import Installed
from loadtests.servers import CEILING, Answer, Rows

START_SECONDS = 90
STOP_SECONDS = 3
# The order of a sum may depend on how many rows are predicted together.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Running:
    installed: Installed
    pid: int
    url: str

    def ask(self, rows: Rows) -> list[Answer]:
        server = self.installed.server
        request = urllib.request.Request(
            self.url,
            json.dumps(server.body(rows)).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return server.read(json.load(response))

    def check(self, rows: Rows, scores: Sequence[float]) -> None:
        """Refuse a server that is wrong, about one row or all together, or that takes nonsense."""
        for row, score in zip(rows, scores, strict=True):
            self._compare(self.ask([row]), [score])
        self._compare(self.ask(rows), scores)
        for nonsense in (rows[0][:-1], ["text", *rows[0][1:]]):
            with suppress(urllib.error.HTTPError):
                self.ask([nonsense])
                raise Failure(f"{self.title} accepted {nonsense}")

    def _compare(self, answers: Sequence[Answer], scores: Sequence[float]) -> None:
        if len(answers) != len(scores):
            raise Failure(f"{self.title} gave {len(answers)} answers to {len(scores)} rows")
        if self.installed.server is CEILING:
            return  # it has no model to be right or wrong
        for answer, score in zip(answers, scores, strict=True):
            label = "malignant" if score >= 0.5 else "benign"
            if abs(answer.score - score) > TOLERANCE or answer.label not in (None, label):
                raise Failure(f"{self.title} said {answer} where {label}, {score} is right")

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let a server that polls run only meanwhile, so that it takes nothing from others."""
        if self.installed.server.polls:
            self._signal(signal.SIGCONT)
        yield
        if self.installed.server.polls:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for pid in measure.process_tree(self.pid):
            os.kill(pid, number)

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    @property
    def title(self) -> str:
        return self.installed.server.title


@contextmanager
def running(installed: Installed, rows: Rows) -> Iterator[Running]:
    """Start the server and yield it once it answers."""
    server, port = installed.server, free_port()
    command = ["taskset", "-c", str(measure.SERVER_CORE), *installed.fill(server.command, port)]
    with installed.log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=installed.folder,
            env=installed.environ(port),
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for this program, which stops the server itself.
            start_new_session=True,
        )
    started = Running(installed, process.pid, f"http://127.0.0.1:{port}{server.path}")
    try:
        for _ in range(START_SECONDS * 5):
            time.sleep(0.2)
            if process.poll() is not None:
                raise Failure(f"{server.title} ended at once, see {installed.log}")
            with suppress(OSError):
                started.ask(rows[:1])
                break
        else:
            raise Failure(
                f"{server.title} did not answer in {START_SECONDS} s, see {installed.log}"
            )
        yield started
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that descend from it."""
    tree = measure.process_tree(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for pid in tree:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def allow_files() -> None:
    """Let this process, and those it starts, have as many files and connections as they may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
