"""Stands in for Datadog's agent in benchmarks: takes what is sent, counts it, forgets it.

The real one does much more with it, on a core that is not measured here; this one leaves that core
to the load. Both of its sockets are Unix ones, as in a cluster. The real one wants ten traces a
second in all; so this one, too, asks a service that sends thousands for a share of them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from loadtests import measure

FOLDER = Path(tempfile.gettempdir()) / f"bench-agent-{os.getuid()}"
TRACES = FOLDER / "apm.socket"
METRICS = FOLDER / "dsd.socket"
COUNTS = FOLDER / "counts"
# Of a service that sends thousands of traces a second, in the environment of that name.
RATE, RATED = 0.005, "rated"
ANSWER = b'{"rate_by_service": {"service:bench,env:%s": %g}}' % (RATED.encode(), RATE)


class Failure(Exception):
    """Something that the benchmark relies on does not hold; the message says what."""


@dataclass(frozen=True)
class Counts:
    """What has arrived: traces, and the sum of inference.requests."""

    traces: int
    requests: int


@contextmanager
def agent() -> Iterator[None]:
    """Run the agent beside the load."""
    FOLDER.mkdir(exist_ok=True)
    for file in (TRACES, METRICS, COUNTS):
        file.unlink(missing_ok=True)
    command = ["taskset", "-c", str(measure.LOAD_CORE), sys.executable, "-m", "loadtests.agent"]
    process = subprocess.Popen(command)
    try:
        while not COUNTS.exists():
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def counts() -> Counts:
    traces, requests = COUNTS.read_text().split()
    return Counts(int(traces), int(requests))


def expect(environ: Mapping[str, str], requests: int, before: Counts) -> None:
    """Raise Failure unless what a server reports on all requests since `before` has arrived.

    Telemetry that is dropped would cost little. `environ`: the server's, which says what it sends.
    """
    time.sleep(1)
    after = counts()
    # Half of what is likely: it is a draw.
    least = requests * RATE / 2 if environ.get("DD_ENV") == RATED else requests
    for name, what, arrived, due in (
        ("DD_DOGSTATSD_URL", "requests counted", after.requests - before.requests, requests),
        ("DD_TRACE_AGENT_URL", "traces", after.traces - before.traces, least),
    ):
        if environ.get(name) and arrived < due:
            raise Failure(f"{arrived} {what} reached the agent, of {requests}")


class _Agent(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.traces = 0
        self.requests = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        for line in data.splitlines():
            if line.startswith(b"inference.requests:"):
                self.requests += int(line[19 : line.index(b"|")])

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                headers = dict(
                    line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
                )
                await reader.readexactly(int(headers.get(b"content-length", 0)))
                self.traces += int(headers.get(b"x-datadog-trace-count", 0))
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
                )
        writer.close()

    async def run(self) -> None:
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        datagrams.bind(str(METRICS))
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, sock=datagrams)
        await asyncio.start_unix_server(self.take, TRACES, limit=64 * 2**20)
        while True:
            partial = COUNTS.with_suffix(".partial")
            partial.write_text(f"{self.traces} {self.requests}")
            partial.replace(COUNTS)
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_Agent().run())
