"""Logs: a line an event on stdout, JSON for machines or text for a terminal, with one schema.

Fields, by the names that Datadog reads: timestamp, level, logger, message; of a request its id,
route, method, status, duration and model version; when tracing, `dd.*`; of an exception its
traceback, on the same line.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from gunicorn import glogging

from service.errors import text_of
from service.log_writer import stdout
from service.settings import Settings

access = logging.getLogger("service.access")

# A process writes at most so many lines a second of each logger: in an overload every refusal would
# be one, and a library may warn at each prediction.
LINES_PER_SECOND = 100
# Loggers of which a line a minute is kept: they would report every failed delivery.
QUIET = ("datadog", "datadog.dogstatsd", "ddtrace", "service.telemetry")
QUIET_SECONDS = 60
# Of a message or a traceback; the middle of a longer one is left out.
MOST_CHARACTERS = 20_000

_HEAD = ("timestamp", "level", "logger", "message")


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        found = fields(record)
        try:
            line = str(msgspec.json.encode(found, enc_hook=str), "utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair
            line = json.dumps(found, default=str)
        return printable(line)


class Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = fields(record)
        head = "{timestamp} {level} {logger}: {message}".format(**line)
        error = line.pop("error.stack", "")
        rest = [f"{name}={value}" for name, value in line.items() if name not in _HEAD]
        # Indented, so that no error's text can pass for a line of its own.
        stack = [f"\n  {printable(part)}" for part in error.split("\n") if part]
        return printable(" ".join([head, *rest])) + "".join(stack)


def printable(text: str) -> str:
    """Return a text with \\uXXXX for what could break a line, or command a terminal."""
    if text.isprintable():
        return text
    # No character beyond these does either.
    return "".join(
        char if char.isprintable() or char > "\uffff" else f"\\u{ord(char):04x}" for char in text
    )


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line says, in order. `extra={"fields": {...}}` adds to it."""
    found: dict[str, Any] = {
        "timestamp": timestamp(record.created),
        "level": record.levelname,
        "logger": record.name,
        "message": _cut(record.getMessage()),
    }
    # ddtrace puts the ids of the active span, if there is one, on each record.
    found.update(
        (name, value)
        for name, value in record.__dict__.items()
        if name.startswith("dd.") and value not in ("", "0")
    )
    found.update(getattr(record, "fields", {}))
    if record.exc_info and (error := record.exc_info[1]):
        found["error.kind"] = type(error).__name__
        found["error.message"] = _cut(text_of(error))
        found["error.stack"] = _cut(logging.Formatter().formatException(record.exc_info))
    return found


def _cut(text: str) -> str:
    if (over := len(text) - MOST_CHARACTERS) <= 0:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]} ... {over} characters ... {text[-half:]}"


def timestamp(seconds: float) -> str:
    """Return a time since the epoch as logs write it."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's `logger_class`: what it logs goes where all else goes.

    So do warnings and what is printed, which would wait for stdout, and be no JSON. Not what
    libraries written in C print: that goes to stdout and stderr themselves.
    """

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log in self.error_log, self.access_log:
            log.handlers.clear()
            log.propagate = True
        format = Settings.from_env().log_format
        if format == "auto":
            format = "text" if os.isatty(1) else "json"
        handler = Handler()
        handler.setFormatter(Json() if format == "json" else Text())
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        warnings.showwarning = _warn
        sys.excepthook = lambda *error: logging.critical("the process ends", exc_info=error)
        sys.stdout = _stream(1, logging.getLogger("stdout"), logging.INFO)
        sys.stderr = _stream(2, logging.getLogger("stderr"), logging.WARNING)


class Handler(logging.Handler):
    """Hands lines to the thread that writes them, unless their logger has had too many."""

    def __init__(self) -> None:
        super().__init__()
        self._limits = defaultdict(Limit, {name: Limit(1, QUIET_SECONDS) for name in QUIET})

    def createLock(self) -> None:
        self.lock = None  # no thread may wait for another here, and none has to

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if record.name != access.name:  # which has been asked: see AccessLog
                limit = self._limits[record.name]
                if not limit.admits():
                    return
                if omitted := limit.take_omitted():
                    record.fields = {**getattr(record, "fields", {}), "omitted": omitted}
            stdout.put(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except Exception:
            if record.name != "stderr":  # where this goes
                self.handleError(record)


class Limit:
    """Admits so many lines in so many seconds, and counts the others."""

    def __init__(self, lines: int = LINES_PER_SECOND, seconds: float = 1) -> None:
        self._lines = lines
        self._seconds = seconds
        self._admitted = self._omitted = 0
        self._until = 0.0

    def admits(self) -> bool:
        now = time.monotonic()
        if now >= self._until:
            self._until, self._admitted = now + self._seconds, 0
        if self._admitted >= self._lines:
            self._omitted += 1
            return False
        self._admitted += 1
        return True

    def take_omitted(self) -> int:
        """Return how many were not admitted since this was asked last."""
        omitted, self._omitted = self._omitted, 0
        return omitted


class _Printed(io.RawIOBase):
    """What is printed, as lines of a logger."""

    def __init__(self, descriptor: int, log: logging.Logger, level: int) -> None:
        self._descriptor, self._log, self._level = descriptor, log, level

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, content: Any) -> int:
        for line in bytes(content).decode(errors="backslashreplace").splitlines():
            if line.strip():
                self._log.log(self._level, line)
        return len(content)


def _stream(*printed: Any) -> io.TextIOWrapper:
    """Return a text stream of _Printed, which gets whole lines from it."""
    raw: Any = _Printed(*printed)
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)


def _warn(
    message: object,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    """Stand in for warnings.showwarning."""
    log = logging.getLogger("py.warnings")  # as logging.captureWarnings calls it
    log.warning("%s: %s (%s:%d)", category.__name__, message, filename, lineno)


class AccessLog:
    """A line for each request that failed, was refused or was slow, and for some of the rest."""

    def __init__(self, sample: float, slow_ms: float) -> None:
        self._sample = sample
        self._slow = slow_ms / 1e3
        self._limit = Limit()

    def wants(self, status: int, seconds: float) -> bool:
        """Tell whether to log a request; costs next to nothing for those that are not."""
        if status < 400 and seconds < self._slow and random.random() >= self._sample:
            return False
        return self._limit.admits()

    def write(
        self, status: int, message: str, fields: Mapping[str, Any], error: BaseException | None
    ) -> None:
        level = logging.ERROR if status >= 500 and status not in (503, 504) else logging.INFO
        if omitted := self._limit.take_omitted():
            fields = {**fields, "omitted": omitted}
        access.log(level, message, exc_info=error, extra={"fields": fields})
