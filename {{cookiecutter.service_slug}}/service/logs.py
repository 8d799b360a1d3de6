"""Logs: a line an event on stdout, JSON for machines or text for a terminal, with one schema.

Fields, by the names that Datadog reads: timestamp, level, logger, message; of a request its id,
route, method, status, duration and model version; when tracing, `dd.*`; of an exception its
traceback, on the same line.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from gunicorn import glogging

from service.settings import Settings

access = logging.getLogger("service.access")

# A worker writes at most so many access lines a second: in an overload every refusal would be one.
LINES_PER_SECOND = 100
# Loggers of which a line a minute is kept: they would report every failed delivery.
QUIET = ("datadog", "datadog.dogstatsd", "ddtrace", "service.telemetry")
QUIET_SECONDS = 60

_HEAD = ("timestamp", "level", "logger", "message")


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return str(msgspec.json.encode(fields(record), enc_hook=str), "utf-8")


class Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = fields(record)
        head = "{timestamp} {level} {logger}: {message}".format(**line)
        error = line.pop("error.stack", "")
        rest = [f"{name}={value}" for name, value in line.items() if name not in _HEAD]
        return " ".join([head, *rest]) + (f"\n{error}" if error else "")


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line says, in order. `extra={"fields": {...}}` adds to it."""
    found: dict[str, Any] = {
        "timestamp": timestamp(record.created),
        "level": record.levelname,
        "logger": record.name,
        "message": record.getMessage(),
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
        found["error.message"] = str(error)
        found["error.stack"] = logging.Formatter().formatException(record.exc_info)
    return found


def timestamp(seconds: float) -> str:
    """Return a time since the epoch as logs write it."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's `logger_class`: what it logs goes where all else goes."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        format = Settings.from_env().log_format
        if format == "auto":
            format = "text" if sys.stdout.isatty() else "json"
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(Json() if format == "json" else Text())
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        for name in QUIET:
            logging.getLogger(name).addFilter(Seldom())


class Seldom(logging.Filter):
    """Lets a record through if the last one was QUIET_SECONDS ago."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + QUIET_SECONDS
        return True


class AccessLog:
    """A line for each request that failed, was refused or was slow, and for some of the rest."""

    def __init__(self, sample: float, slow_ms: float) -> None:
        self._sample = sample
        self._slow = slow_ms / 1e3
        self._second = 0
        self._lines = 0
        self._omitted = 0

    def wants(self, status: int, seconds: float) -> bool:
        """Tell whether to log a request; costs next to nothing for those that are not."""
        if status < 400 and seconds < self._slow and random.random() >= self._sample:
            return False
        now = int(time.monotonic())
        if now != self._second:
            self._second, self._lines = now, 0
        self._lines += 1
        if self._lines > LINES_PER_SECOND:
            self._omitted += 1
            return False
        return True

    def write(
        self, status: int, message: str, fields: Mapping[str, Any], error: BaseException | None
    ) -> None:
        level = logging.ERROR if status >= 500 and status not in (503, 504) else logging.INFO
        if self._omitted:
            fields = {**fields, "omitted": self._omitted}
            self._omitted = 0
        access.log(level, message, exc_info=error, extra={"fields": fields})
