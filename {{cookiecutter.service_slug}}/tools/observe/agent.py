"""Datadog's test agent: takes the traces, and shows them on a page of its own.

An application with dependencies of its own, so it gets an environment of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from loadtests.serving import free_port
from tools.observe import processes
from tools.observe.facts import ROOT

PACKAGE = "ddapm-test-agent==1.69.1"
FOLDER = ROOT / ".venv" / "agent"
# Tried first, so that a page left open finds the next run.
PORT, PAGE_PORT = 8126, 8127
# It keeps all it is sent, for tests to ask about; its page shows the last 200 only.
CLEAR_SECONDS = 60


@dataclass(frozen=True)
class Agent:
    url: str
    page: str


def install(console: Console) -> Path | None:
    """Return the agent's program, installed if need be; or say why not, and return None."""
    installed = FOLDER / PACKAGE  # an empty file: this version is there, whole
    program = FOLDER / "bin" / "ddapm-test-agent"
    if installed.exists():
        return program
    with console.status(f"installing {PACKAGE} in {FOLDER.relative_to(ROOT)} (once)"):
        python = str(FOLDER / "bin" / "python")
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(FOLDER)],
            [python, "-m", "pip", "--disable-pip-version-check", "install", PACKAGE],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                break
        else:
            installed.touch()
            return program
    shutil.rmtree(FOLDER, ignore_errors=True)
    said = (done.stderr or done.stdout).strip().splitlines()
    reason = next((line for line in said if "ERROR" in line), f"exit status {done.returncode}")
    console.print(f"no traces: {PACKAGE} could not be installed: {reason}", soft_wrap=True)
    return None


@contextmanager
def running(program: Path, log: Path) -> Iterator[Agent]:
    """Run the agent; it takes a second or two until it listens, for which nobody has to wait."""
    port, page = free_port(PORT), free_port(PAGE_PORT)
    command = [str(program), "--port", str(port), "--web-ui-port", str(page)]
    for option in ("--otlp-http-port", "--otlp-grpc-port"):
        command += [option, str(free_port())]
    agent = Agent(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{page}/traces")
    stopping = threading.Event()

    def clear() -> None:
        while not stopping.wait(CLEAR_SECONDS):
            try:
                urllib.request.urlopen(f"{agent.url}/test/session/clear", timeout=5).close()
            except OSError:
                continue

    with processes.running([*command, "--log-level", "ERROR"], {}, log):
        thread = threading.Thread(target=clear)
        thread.start()
        try:
            yield agent
        finally:
            stopping.set()
            thread.join()
