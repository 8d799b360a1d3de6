"""Events for the report and the gate: lines of JSON on stdout, like all logs.

At hundreds a second they may fill the pipe; so a native thread writes them, and where it cannot
keep up they are lost and counted, not waited for.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Any

import gevent
import msgspec
from gevent import monkey
from gevent.threadpool import ThreadPool

from service.logs import timestamp
from service.shadow.faults import log

MAX_WAITING_BYTES = 1024 * 1024
PATIENCE_SECONDS = 1.0  # longest that start and end of a worker wait for a file or a pipe
_encode = msgspec.json.encode
_os_write = monkey.get_original("os", "write")


class Events:
    """Lines on their way to a file descriptor. One object a process."""

    def __init__(self, descriptor: int = 1) -> None:
        self.lost = 0
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns() // 1_000_000}"
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._waiting_bytes = 0  # those that the thread is writing included
        self._thread = ThreadPool(1)

    def write(self, message: str, event: str, fields: dict[str, Any]) -> None:
        """Add a line, with the head that all log lines have; never waits."""
        head = {"timestamp": timestamp(time.time()), "level": "INFO", "logger": log.name}
        line = {**head, "message": message, "event": event, "worker": self._worker, **fields}
        content = _encoded(line)
        size = self._waiting_bytes + len(content)
        if size > MAX_WAITING_BYTES or len(content) > select.PIPE_BUF:
            self.lost += 1
        else:
            self._lines.append(content)
            self._waiting_bytes = size

    def flush(self) -> None:
        """Write what there is; returns when the thread has done so."""
        lines, self._lines = self._lines, []
        try:
            if lines:
                self._thread.apply(_write, (self._descriptor, lines))
        except OSError:
            self.lost += len(lines)
        finally:
            self._waiting_bytes -= sum(map(len, lines))

    def flush_patiently(self) -> None:
        """Write what there is, or give up after PATIENCE_SECONDS."""
        with gevent.Timeout(PATIENCE_SECONDS, False):  # type: ignore[arg-type]
            self.flush()


def _encoded(line: dict[str, Any]) -> bytes:
    """Return a line of JSON, with fewer details if a pipe might tear it: it is over PIPE_BUF."""
    content = _encode(line) + b"\n"
    for most in (5, 1, 0):
        if len(content) <= select.PIPE_BUF:
            break
        for key in line.keys() & {"fields", "flips"}:
            line[key] = line[key][:most]
        deltas = line.get("deltas", {})
        line["deltas"] = {name: deltas[name][:most] for name in list(deltas)[:most]}
        content = _encode(line) + b"\n"
    return content


def _write(descriptor: int, lines: list[bytes]) -> None:
    """Write lines, as many at a time as a pipe takes whole."""
    pieces = [b""]
    for line in lines:
        if len(pieces[-1]) + len(line) > select.PIPE_BUF:
            pieces.append(b"")
        pieces[-1] += line
    for piece in pieces:
        while piece:
            piece = piece[_os_write(descriptor, piece) :]
