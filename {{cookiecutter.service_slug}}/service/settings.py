"""Every setting of the service: read from the environment, typed, checked once, at start.

The variable is the field's name in upper case. The README's table is checked against this file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from service.errors import Refusal


def setting(
    default: Any,
    about: str,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    limits = {"minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata={"about": about, **limits})


@dataclass(frozen=True, kw_only=True)
class Settings:
    bind_host: str = setting("127.0.0.1", "address to listen on (0.0.0.0 in a container)")
    port: int = setting(8000, "port to listen on", 0, 65535)
    web_concurrency: int = setting(0, "worker processes; 0: as many as the CPU quota allows", 0, 64)
    artifact_dir: Path = setting(Path("artifact"), "folder that training wrote")
    max_body_bytes: int = setting(1024 * 1024, "largest request body; over it 413", 1)
    max_instances: int = setting(1000, "most instances in one request; over it 413", 1)
    max_batch_size: int = setting(1024, "most rows in one call of the model", 1)
    max_queue_ms: float = setting(250.0, "longest wait in the queue, expected; over it 503", 1)
    max_queued_rows: int = setting(10_000, "most rows in the queue; over it 503", 1)
    request_timeout_ms: int = setting(
        30_000, "longest a request may take, and X-Request-Timeout-Ms may ask for; then 504", 1
    )
    body_timeout: float = setting(
        10.0, "seconds a client may take to send a body; over it 408", 0.1
    )
    send_timeout: float = setting(
        10.0, "seconds (about) a client may take to read what it was sent", 0.1
    )
    keepalive: int = setting(
        5, "seconds an idle connection stays open, or a client may take over its headers", 1
    )
    max_connections: int = setting(10_000, "most open connections of a worker", 1)
    max_requests: int = setting(
        0,
        "requests after which a worker makes room for a new one, which serves before; 0: never",
        0,
    )
    graceful_timeout: int = setting(20, "seconds that requests in flight have after SIGTERM", 1)
    drain_seconds: int = setting(
        0, "seconds to go on serving after SIGTERM, not ready, before the listener closes", 0
    )

    log_format: str = setting(
        "auto", "json, text, or auto: text on a terminal", choices=("auto", "json", "text")
    )
    log_sample: float = setting(
        0.01, "share of requests with a log line; failed and slow ones have one anyway", 0, 1
    )
    log_slow_ms: float = setting(1000.0, "requests that take longer have a log line", 0)
    log_payloads: int = setting(0, "1: log lines of requests have their bodies", 0, 1)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Return the settings of the environment; an empty variable counts as absent.

        Raises Refusal for a value that does not parse or is out of range.
        """
        values = {}
        for item in fields(cls):
            text = environ.get(item.name.upper(), "")
            if text:
                values[item.name] = parse(item.name.upper(), text, item.default, item.metadata)
        return cls(**values)

    @property
    def workers(self) -> int:
        return self.web_concurrency or cpu_quota()


def parse(name: str, text: str, default: Any, limits: Mapping[str, Any]) -> Any:
    kind = type(default)
    try:
        value = Path(text) if isinstance(default, Path) else kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise Refusal(f"{name}={text!r}: expected {wanted}") from None
    if limits["choices"] and value not in limits["choices"]:
        raise Refusal(f"{name}={text!r}: expected one of {', '.join(limits['choices'])}")
    # The comparison is written so that NaN fails it.
    if kind in (int, float) and not limits["minimum"] <= value <= limits["maximum"]:
        low, high = limits["minimum"], limits["maximum"]
        wanted = f"at least {low}" if high == math.inf else f"between {low} and {high}"
        raise Refusal(f"{name}={text!r}: expected {wanted}")
    return value


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
