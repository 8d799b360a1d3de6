"""Events for the report and the gate: lines of JSON on stdout, like all logs.

At hundreds a second they may come faster than they are read; then they are lost and counted, not
waited for.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Any

import msgspec

from service.log_writer import LogWriter, stdout
from service.logs import timestamp
from service.shadow.faults import log

_encode = msgspec.json.encode


class Events:
    """Lines on their way to the log. One object a process and logger."""

    def __init__(self, writer: LogWriter = stdout, logger: str = log.name) -> None:
        self.lost = 0
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns() // 1_000_000}"
        self._writer, self._logger = writer, logger

    def write(self, message: str, event: str, fields: dict[str, Any]) -> None:
        """Add a line, with the head that all log lines have; never waits."""
        head = {"timestamp": timestamp(time.time()), "level": "INFO", "logger": self._logger}
        line = {**head, "message": message, "event": event, "worker": self._worker, **fields}
        if not self._writer.put(_encoded(line)):
            self.lost += 1


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
