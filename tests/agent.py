"""Datadog's own test agent, run as a process: it takes traces as the real one, and shows them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests
from harness import ROOT, START_SECONDS, free_port

# An application with dependencies of its own, so in an environment of its own.
REQUIREMENT = "ddapm-test-agent==1.69.1"
VENV = Path(os.environ.get("AGENT_VENV", ROOT / "build" / "agent-venv"))

Span = dict[str, Any]


def install() -> None:
    """Make the agent's environment, unless it is there."""
    done = VENV / REQUIREMENT
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", REQUIREMENT], check=True)
        done.touch()


class Agent:
    """A test agent; it may be stopped and restarted on its addresses. Use as a context manager."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: of a Unix socket that takes traces, besides the port."""
        self.port = free_port()
        self.path = path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Agent:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [str(VENV / "bin" / "ddapm-test-agent"), f"--port={self.port}"]
        command += [f"--otlp-http-port={free_port()}", f"--otlp-grpc-port={free_port()}"]
        command += [f"--trace-uds-socket={self.path}"] if self.path else []
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                requests.get(f"{self.url}/info", timeout=5).raise_for_status()
                return
            except requests.ConnectionError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.kill()  # it takes seconds to end in peace
        self.process.wait()
        if self.path:
            self.path.unlink(missing_ok=True)

    def clear(self) -> None:
        requests.get(f"{self.url}/test/session/clear", timeout=30).raise_for_status()

    @property
    def traces(self) -> list[list[Span]]:
        response = requests.get(f"{self.url}/test/session/traces", timeout=30)
        response.raise_for_status()
        found: list[list[Span]] = response.json()
        return found

    @property
    def spans(self) -> list[Span]:
        return [span for trace in self.traces for span in trace]

    def wait_spans(self, count: int, tags: dict[str, str]) -> list[Span]:
        """Return the spans with these tags once there are so many; they come every second."""
        deadline = time.monotonic() + 10
        while True:
            found = [span for span in self.spans if tags.items() <= span["meta"].items()]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} spans with {tags}"
            time.sleep(0.1)
