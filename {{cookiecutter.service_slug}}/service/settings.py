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
} | {"SCRIPT_NAME": "ROOT_PATH"}  # gunicorn's own, which it takes from the environment by itself
_PROTOCOL = "(kserve-v1|v2|sagemaker|vertex)"
_ORIGIN = r"([a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+|\*)"


# The kernel and timers take no more; and what is more is a slip of the pen.
MOST = 1_000_000_000


def about(description: str, ge: float | None = None, le: float | None = None) -> Meta:
    """Return what is known of a setting; a number, which has a `ge`, is at most `le`, or MOST."""
    if ge is not None and le is None:
        le = MOST
    return Meta(description=description, ge=ge, le=le)


def text_about(description: str, pattern: str, form: str) -> Meta:
    """`form`: in words, what the whole text has to match."""
    return Meta(description=description, pattern=rf"^({pattern})\Z", title=form)


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
    bind_host: Annotated[
        str,
        about("address to listen on (0.0.0.0 in a container; `::`: IPv6 too), or `unix:/a/path`"),
    ] = "127.0.0.1"
    port: Annotated[int, about("port to listen on", 0, 65535)] = 8000
    root_path: Annotated[
        str,
        text_about(
            "path before all routes, whether a proxy strips it or not: /models/tumour",
            r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+",
            "a path like /models/tumour, with no slash at its end",
        ),
    ] = ""
    cors_origins: Annotated[
        str,
        text_about(
            "origins whose pages may call, by commas: https://app.example.com; *: all; empty: none",
            rf"{_ORIGIN}(, ?{_ORIGIN})*",
            "origins like https://app.example.com, separated by commas, or *",
        ),
    ] = ""
    web_concurrency: Annotated[
        int, about("worker processes; 0: as many as the CPU quota allows", 0, 1024)
    ] = 0
    artifact_dir: Annotated[Path, about("folder that training wrote")] = Path("artifact")
    max_body_bytes: Annotated[int, about("largest request body, decompressed; over it 413", 1)] = (
        1024 * 1024
    )
    max_instances: Annotated[int, about("most instances in one request; over it 413", 1)] = 1000
    max_batch_size: Annotated[int, about("most rows in one call of the model", 1)] = 1024
    max_queue_ms: Annotated[float, about("longest expected wait; over it 503", 1)] = 250.0
    max_queued_rows: Annotated[int, about("most rows in the queue; over it 503", 1)] = 10_000
    request_timeout_ms: Annotated[
        int, about("longest a request may take, and X-Request-Timeout-Ms may ask for; then 504", 1)
    ] = 30_000
    predict_timeout_ms: Annotated[
        int,
        about(
            "longest a call of the model may take, then its worker is replaced; "
            "0: twice REQUEST_TIMEOUT_MS, but not under 10 s",
            0,
        ),
    ] = 0
    body_timeout_seconds: Annotated[
        float,
        about("longest a client may take over a request's headers, and over its body (408)", 0.1),
    ] = 10.0
    send_timeout_seconds: Annotated[
        float, about("longest a client may take to read an answer", 0.1, 1_000_000)
    ] = 10.0
    keepalive_seconds: Annotated[
        int,
        about("longest an idle connection stays open; let load balancers close sooner (60 s)", 1),
    ] = 75
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
    protocols: Annotated[
        str,
        text_about(
            "contracts of other platforms to speak too, by commas: kserve-v1, v2, sagemaker, "
            "vertex; the last two listen where their platform says, or on 8080, not on PORT",
            rf"{_PROTOCOL}(, ?{_PROTOCOL})*",
            "some of kserve-v1, v2, sagemaker, vertex, separated by commas",
        ),
    ] = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """As FromEnvironment; and an old name of a setting is refused, not ignored."""
        for old, new in RENAMED.items():
            if old in environ:
                raise Refusal(f"{old} is now called {new}")
        return super().from_env(environ)

    @property
    def origins(self) -> frozenset[str]:
        return frozenset(self.cors_origins.replace(" ", "").split(","))

    @property
    def spoken(self) -> list[str]:
        """The names in `protocols`, each once."""
        return list(dict.fromkeys(filter(None, self.protocols.replace(" ", "").split(","))))

    @property
    def workers(self) -> int:
        return self.web_concurrency or cpu_quota()

    @property
    def predict_timeout_seconds(self) -> float:
        return (self.predict_timeout_ms or max(10_000, 2 * self.request_timeout_ms)) / 1e3

    @property
    def bind(self) -> str:
        """The address as gunicorn takes it."""
        if self.bind_host.startswith("unix:"):
            return self.bind_host
        return f"[{self.bind_host.strip('[]')}]:{self.port}"  # IPv6 needs the brackets


def _wanted(annotated: Any, complaint: str) -> str:
    """Return in words what the type of a setting takes; `complaint`: msgspec's."""
    kind, meta = get_args(annotated)
    if meta.pattern:
        return str(meta.title)
    if choices := get_args(kind):
        return f"one of {', '.join(choices)}"
    if ", got " in complaint:
        return "a whole number" if kind is int else "a number"
    return f"between {meta.ge} and {meta.le}"


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
