"""Log lines: nobody waits for them, each is whole, and nothing that is printed goes around them."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import PYTHON, Service, serve, wrapped

ANSWER_SECONDS = 1
READ_SECONDS = 60

# Its traceback is some 40 KB, twice what a message may have.
LONG = """if (frame.iloc[:, 0] < 0).any():
        raise RuntimeError("why " * 10_000)"""

# And what it printed, for us to count.
CHATTY = """import sys, warnings
    warnings.simplefilter("always")
    for _ in range(20):
        warnings.warn("mind\\nthe gap")
        print("printed", 1, "é")
        sys.stderr.write("compl")
        sys.stderr.write("ained\\n")
    with open("times", "a") as times:
        times.write(20 * "x")"""


class Reader(threading.Thread):
    """Reads what a service writes, from `read` on and not before."""

    def __init__(self, pipe: Path) -> None:
        super().__init__(daemon=True)
        os.mkfifo(pipe)
        self.descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.content = b""
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            if select.select([self.descriptor], [], [], 0.1)[0]:
                self.content += os.read(self.descriptor, 65536)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines that have come, each of which must be whole."""
        return [json.loads(line) for line in self.content.splitlines()]

    def wait(self, what: bytes) -> None:
        deadline = time.monotonic() + READ_SECONDS
        while what not in self.content:
            assert time.monotonic() < deadline, self.content[-2000:]
            time.sleep(0.05)


def started_by(folder: Path, command: str) -> Path:
    """Return a program that starts Python as the shell says, with "$@" for its arguments."""
    script = folder / "start.sh"
    script.write_text(f"#!/bin/sh\nPYTHON={PYTHON}\n{command}\n")
    script.chmod(0o755)
    return script


# As another program that has the pipe may leave it: a write that would wait fails.
NON_BLOCKING = "import os, sys; os.set_blocking(1, False); os.execv(sys.argv[1], sys.argv[1:])"


@contextmanager
def piped(
    folder: Path, scratch: Path, /, blocking: bool = True, **settings: Any
) -> Iterator[tuple[Service, Reader]]:
    """Run a service whose stdout is a pipe."""
    reader = Reader(scratch / "pipe")
    first = "" if blocking else f'"$PYTHON" -c "{NON_BLOCKING}"'
    start = started_by(scratch, f'exec {first} "$PYTHON" "$@" >{scratch}/pipe 2>&1')
    with serve(folder, start, **settings) as service:
        yield service, reader
    reader.ended.set()


def quickly(service: Service, path: str, instance: dict[str, Any] | None = None) -> int:
    """Return the status of an answer that must not take long."""
    url = service.url + path
    if instance is None:
        return requests.get(url, timeout=ANSWER_SECONDS).status_code
    return requests.post(url, json={"instances": [instance]}, timeout=ANSWER_SECONDS).status_code


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_stalls(baked: Path, tmp_path: Path, blocking: bool) -> None:
    folder = wrapped(baked, tmp_path, LONG)
    settings = {"WEB_CONCURRENCY": 2, "LOG_SAMPLE": 1}
    with piped(folder, tmp_path, blocking=blocking, **settings) as (service, reader):
        broken = dict.fromkeys(service.instance, -1.0)
        service.wait_workers(2)

        def fail(_: int) -> int:
            time.sleep(0.08)  # under 100 a second, so that each has a line
            return quickly(service, "/predict", broken)

        with ThreadPoolExecutor(8) as pool:
            failed = pool.map(fail, range(500))
            for _ in range(20):
                for path in "/healthz", "/readyz":
                    assert quickly(service, path) == 200
                assert quickly(service, "/predict", service.instance) == 200
                time.sleep(0.1)
            assert set(failed) == {500}
        reader.start()
        reader.wait(b"log lines were lost")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
        reader.wait(b"Shutting down")
    told = [re.match(r"(\d+) log lines were lost", line["message"]) for line in reader.lines]
    lost = sum(int(found[1]) for found in told if found)
    asked = [line for line in reader.lines if line["logger"] == "service.access"]
    print(f"{len(asked)} lines of requests, {lost} lost, {len(reader.content) >> 10} KiB")
    assert lost and len(asked) + lost == 520 and not any("omitted" in line for line in asked)
    long = [line for line in asked if "error.stack" in line]
    assert len(long) > 100 and all(len(line["error.stack"]) > 20_000 for line in long)


@pytest.mark.parametrize("stdout", ["closed", "head", "/dev/full"])
def test_a_stdout_that_takes_nothing(baked: Path, tmp_path: Path, stdout: str) -> None:
    redirected = {"closed": "<&- >&- 2>&-", "head": f">{tmp_path}/pipe", "/dev/full": ">/dev/full"}
    reader = Reader(tmp_path / "pipe")
    start = started_by(tmp_path, f'exec "$PYTHON" "$@" {redirected[stdout]}')
    with serve(baked, start, LOG_SAMPLE=1) as service:
        os.close(reader.descriptor)
        with ThreadPoolExecutor(8) as pool:
            for answers in pool.map(service.predict, [[service.instance]] * 200):
                assert len(answers) == 1
        (worker,) = service.workers
        assert service.process.poll() is None
        service.process.terminate()
        assert service.process.wait(20) == 0
        assert not service.logged


def test_what_libraries_print_are_lines_counted_and_limited(baked: Path, tmp_path: Path) -> None:
    folder = wrapped(baked, tmp_path, CHATTY)
    with piped(folder, tmp_path) as (service, reader):
        reader.start()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(service.predict, [[service.instance]] * 200))
        time.sleep(1.1)  # the limit is one of lines a second; the next tells what it left out
        service.predict([service.instance])
        service.process.terminate()
        assert service.process.wait(20) == 0
        reader.wait(b"Shutting down")
    times = len((folder / "times").read_text())
    for logger, level, message in (
        ("stdout", "INFO", "printed 1 é"),
        ("stderr", "WARNING", "complained"),
        ("py.warnings", "WARNING", "UserWarning: mind\nthe gap ("),
    ):
        lines = [line for line in reader.lines if line["logger"] == logger]
        omitted = sum(line.get("omitted", 0) for line in lines)
        print(f"{logger}: {times} times, {len(lines)} lines")
        assert {line["level"] for line in lines} == {level}
        assert all(line["message"].startswith(message) for line in lines), lines
        assert omitted and len(lines) + omitted == times


@pytest.mark.parametrize("format", ["text", "json"])
def test_no_client_makes_a_line(baked: Path, tmp_path: Path, format: str) -> None:
    breaks = "\n \r \x85 \u2028 \u2029".split(" ")
    body = "".join(f"{mark}forged {mark}" for mark in breaks) + "\x1b[2J\x9b2J"
    settings = {"LOG_FORMAT": format, "LOG_PAYLOADS": 1}
    # An environment in which Python's own streams take no letter beyond ASCII.
    settings |= {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    with serve(baked, **settings) as service:
        assert service.post(body.encode()).status_code == 400
        assert service.post("é".encode()).status_code == 400
        with service.connect() as client:
            client.sendall(b"GET / \x1b[2J\xe2\x80\xa8 HTTP/1.1\r\n\r\n")
            client.recv(4096)
        service.lines("http.status_code", 3)
        logged = service.log.read_text("utf-8")
    assert "forged" in logged and "é" in logged
    assert logged.splitlines() == logged.split("\n")[:-1]
    assert not any(line.startswith("forged") for line in logged.splitlines())
    assert all(char.isprintable() for char in logged.replace("\n", ""))
