"""Every setting of the service: read from the environment, typed, checked once, at start.

The variable is the field's name in upper case. docs/reference.md has the table of them all.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import msgspec
from msgspec import Meta

from service.errors import Refusal

RENAMED = {
    name: f"{name}_SECONDS"
    for name in ("BODY_TIMEOUT", "SEND_TIMEOUT", "KEEPALIVE", "GRACEFUL_TIMEOUT")
}


def about(description: str, ge: float | None = None, le: float | None = None) -> Meta:
    return Meta(description=description, ge=ge, le=le)


class FromEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that the environment sets; their limits are those of the fields' types."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return the settings of the environment; an empty variable counts as absent.

        Raises Refusal for a value that does not parse or is out of range.
        """
        values = {}
        for field in msgspec.structs.fields(cls):
            name = field.name.upper()
            if text := environ.get(name, ""):
                try:
                    values[field.name] = msgspec.convert(
                        text, field.type, strict=False, dec_hook=lambda kind, value: kind(value)
                    )
                except msgspec.ValidationError as error:
                    wanted = _wanted(field.type, str(error))
                    raise Refusal(f"{name}={text!r}: expected {wanted}") from None
        return cls(**values)


class Settings(FromEnvironment, frozen=True, kw_only=True):
    bind_host: Annotated[str, about("address to listen on (0.0.0.0 in a container)")] = "127.0.0.1"
    port: Annotated[int, about("port to listen on", 0, 65535)] = 8000
    web_concurrency: Annotated[
        int, about("worker processes; 0: as many as the CPU quota allows", 0, 64)
    ] = 0
    artifact_dir: Annotated[Path, about("folder that training wrote")] = Path("artifact")
    max_body_bytes: Annotated[int, about("largest request body; over it 413", 1)] = 1024 * 1024
    max_instances: Annotated[int, about("most instances in one request; over it 413", 1)] = 1000
    max_batch_size: Annotated[int, about("most rows in one call of the model", 1)] = 1024
    max_queue_ms: Annotated[float, about("longest expected wait; over it 503", 1)] = 250.0
    max_queued_rows: Annotated[int, about("most rows in the queue; over it 503", 1)] = 10_000
    request_timeout_ms: Annotated[
        int, about("longest a request may take, and X-Request-Timeout-Ms may ask for; then 504", 1)
    ] = 30_000
    body_timeout_seconds: Annotated[
        float, about("longest a client may take to send a body; over it 408", 0.1)
    ] = 10.0
    send_timeout_seconds: Annotated[
        float, about("longest (about) a client may take to read what it was sent", 0.1)
    ] = 10.0
    keepalive_seconds: Annotated[
        int, about("longest an idle connection stays open, or a client may take over headers", 1)
    ] = 5
    max_connections: Annotated[int, about("most open connections of a worker", 1)] = 10_000
    max_requests: Annotated[
        int, about("requests after which a worker is replaced, losing none; 0: never", 0)
    ] = 0
    graceful_timeout_seconds: Annotated[
        int, about("how long requests in flight have after SIGTERM", 1)
    ] = 20
    drain_seconds: Annotated[
        int, about("how long to serve on after SIGTERM, not ready, before the listener closes", 0)
    ] = 0
    log_format: Annotated[
        Literal["auto", "json", "text"], about("json, text, or auto: text on a terminal")
    ] = "auto"
    log_sample: Annotated[
        float, about("share of requests with a log line; failed and slow ones have one", 0, 1)
    ] = 0.01
    log_slow_ms: Annotated[float, about("requests that take longer have a log line", 0)] = 1000.0
    log_payloads: Annotated[int, about("1: log lines of requests have their bodies", 0, 1)] = 0

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """As FromEnvironment; and an old name of a setting is refused, not ignored."""
        for old, new in RENAMED.items():
            if old in environ:
                raise Refusal(f"{old} is now called {new}")
        return super().from_env(environ)

    @property
    def workers(self) -> int:
        return self.web_concurrency or cpu_quota()


def _wanted(annotated: Any, complaint: str) -> str:
    """Return in words what the type of a setting takes; `complaint`: msgspec's."""
    kind, meta = get_args(annotated)
    if choices := get_args(kind):
        return f"one of {', '.join(choices)}"
    if ", got " in complaint:
        return "a whole number" if kind is int else "a number"
    return f"at least {meta.ge}" if meta.le is None else f"between {meta.ge} and {meta.le}"


def cpu_quota(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the CPUs this process may use, rounded up: affinity, and the quota of its cgroup.

    joblib.cpu_count() tells the same, but imports numpy, which must not happen before the number
    of BLAS threads is set.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        if (cgroup / "cpu.max").exists():  # version 2
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup here, or "max": no limit
        limit = 0
    return max(1, min(available or 1, limit if limit > 0 else available or 1))
