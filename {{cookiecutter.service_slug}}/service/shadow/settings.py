"""The settings of ghost mode. A wrong one switches ghost mode off; the service starts all the same.

The variable is the field's name in upper case, as in service/settings.py.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from service.errors import Refusal
from service.settings import FromEnvironment, Settings, about

_URL = re.compile(r"http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?((?:/[\w.~-]+)*)/?")
_NAME = re.compile(r"[A-Za-z0-9-]+")
_ROUTE = re.compile(r"/[\w.~:/-]*")
# Who the client is, and whose trace it is in, is not the candidate's business; what frames the
# message is the sender's.
_PRIVATE = re.compile(
    r"authorization|proxy-.*|cookie|.*api-?key|.*token.*|.*secret.*|forwarded|x-forwarded-.*"
    r"|x-real-ip|traceparent|tracestate|baggage|b3|x-b3-.*|x-datadog-.*|x-shadow-.*"
    r"|host|connection|keep-alive|content-.*|transfer-encoding|te|trailer|expect|upgrade"
    r"|accept-encoding"
)


class ShadowSettings(FromEnvironment, frozen=True, kw_only=True):
    shadow_url: Annotated[
        str, about("the candidate: http://HOST[:PORT][/PATH]; empty: no shadow traffic")
    ] = ""
    shadow_role: Annotated[
        Literal["live", "candidate"],
        about("live, or candidate: then requests marked as copies are reported as such"),
    ] = "live"
    shadow_percent: Annotated[float, about("share of the requests that is copied", 0, 100)] = 100.0
    shadow_key_header: Annotated[
        str, about("the header by whose value that share is chosen; empty: X-Request-Id")
    ] = ""
    shadow_max_rps: Annotated[float, about("most copies a second of a worker; 0: no limit", 0)] = (
        100.0
    )
    shadow_switch_file: Annotated[
        str, about("file that is looked at every 2 s: `off`, or another SHADOW_PERCENT")
    ] = ""
    shadow_routes: Annotated[str, about("POST routes to copy, separated by commas")] = "/predict"
    shadow_headers: Annotated[
        str, about("headers to copy besides Content-Type and Accept, separated by commas")
    ] = ""
    shadow_timeout_ms: Annotated[int, about("longest that a copy may take in all", 1, 60_000)] = (
        2000
    )
    shadow_concurrency: Annotated[int, about("copies of a worker under way at a time", 1, 64)] = 4
    shadow_queue: Annotated[int, about("most copies waiting in a worker", 1, 10_000)] = 100
    shadow_queue_bytes: Annotated[int, about("most bytes waiting in a worker", 1)] = 8 * 1024 * 1024
    shadow_max_body_bytes: Annotated[int, about("largest request body to copy", 1)] = 256 * 1024
    shadow_max_answer_bytes: Annotated[
        int, about("largest answer to compare, of either side", 1, 1024 * 1024)
    ] = 64 * 1024
    shadow_rules: Annotated[
        Path, about("how alike answers must be, by field; the file may be missing")
    ] = Path("shadow-rules.toml")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return the settings of the environment; raises Refusal for one that cannot be meant."""
        found = super().from_env(environ)
        found._check()
        if environ.get("SHADOW_RULES") and not found.shadow_rules.exists():
            raise Refusal(f"SHADOW_RULES: there is no {found.shadow_rules}")
        return found

    def _check(self) -> None:
        if self.shadow_url:
            _ = self.target
        for route in self.routes:
            if not _ROUTE.fullmatch(route) or route in ("/", "/healthz", "/readyz"):
                raise Refusal(f"SHADOW_ROUTES: cannot copy {route!r}")
        for name in _listed(self.shadow_headers):
            if not _NAME.fullmatch(name) or _PRIVATE.fullmatch(name.lower()):
                raise Refusal(f"SHADOW_HEADERS: {name!r} must not be copied")

    @property
    def target(self) -> Target:
        """Raises Refusal for a URL that is none, or leads back here."""
        match = _URL.fullmatch(self.shadow_url)
        if match is None or int(match[2] or 80) > 65535:
            raise Refusal(f"SHADOW_URL={self.shadow_url!r}: expected http://HOST[:PORT][/PATH]")
        return Target(match[1].strip("[]"), int(match[2] or 80), match[3])

    @property
    def routes(self) -> tuple[str, ...]:
        return _listed(self.shadow_routes)

    @property
    def headers(self) -> tuple[str, ...]:
        """Those of a request that travel; none that nobody asked for."""
        return ("Content-Type", "Accept", *_listed(self.shadow_headers))


@dataclass(frozen=True)
class Target:
    """Where copies go."""

    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"

    def is_this(self, service: Settings) -> bool:
        """Tell whether it is this service itself, as far as its name says."""
        here = {"localhost", "127.0.0.1", "::1", "0.0.0.0", service.bind_host, socket.gethostname()}
        return self.port == service.port and self.host.lower() in here


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))
