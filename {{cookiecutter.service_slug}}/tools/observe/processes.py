"""The processes behind the screen: the service, and Locust to load it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from loadtests.serving import environment
from tools.observe.facts import ROOT

START_SECONDS = 60
STOP_SECONDS = 30

Process = subprocess.Popen[bytes]


class Ended(Exception):
    """A process that is needed has ended, or does not come up; the message says what it said."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def running(command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[Process]:
    """Run a command, its output going to `log`, until the context ends.

    In a session of its own: Ctrl-C then reaches this program alone, which ends the others in order.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment() | dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C: at once, then
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def await_ready(process: Process, log: Path, ready: Callable[[], bool]) -> None:
    """Return once `ready` does; raises Ended if the process ends before, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        check(process, log)
        if time.monotonic() > deadline:
            raise Ended(f"not ready within {START_SECONDS} s\n{_last(log)}", 1)
        time.sleep(0.1)


def check(process: Process, log: Path) -> None:
    """Raises Ended, with what the process said last, if it has ended."""
    status = process.poll()
    if status is not None:
        raise Ended(_last(log), status or 1)


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    refusals = [line for line in lines if line.startswith("refusing to start: ")]
    return "\n".join(refusals[:1] or lines[-5:])


def load(url: str, log: Path) -> AbstractContextManager[Process]:
    """Drive the service with its own load test's users, up and down its own steps, for ever."""
    users = f"{ROOT}/tools/observe/load.py"
    locust = [sys.executable, "-m", "locust", "--headless", "--host", url, "-f", users]
    quiet = ["--loglevel", "ERROR", "--only-summary"]
    return running([*locust, *quiet, "--stop-timeout", "5"], {}, log)
