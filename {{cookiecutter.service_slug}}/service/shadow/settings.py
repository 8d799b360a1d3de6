"""Settings of shadow traffic. A wrong one switches it off; the service starts all the same."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from service.errors import Refusal
from service.settings import FromEnvironment, Settings, about
from service.shadow.faults import log

_URL = re.compile(r"http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?((?:/[\w.~-]+)*)/?")
_REMOVED = "CONCURRENCY HEADERS MAX_ANSWER_BYTES MAX_RPS QUEUE QUEUE_BYTES ROUTES RULES".split()


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
    shadow_switch_file: Annotated[
        str, about("file that is read every 2 s: `off`, or another SHADOW_PERCENT")
    ] = ""
    shadow_timeout_ms: Annotated[int, about("longest that a copy may take", 1, 60_000)] = 2000
    shadow_max_body_bytes: Annotated[int, about("largest request body to copy", 1)] = 256 * 1024

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """As FromEnvironment; a variable that has lost its meaning gets a line in the log."""
        for name in _REMOVED:
            if f"SHADOW_{name}" in environ:
                log.warning("SHADOW_%s is no longer a setting: it has no effect", name)
        return super().from_env(environ)

    @property
    def target(self) -> Target:
        """Where copies go; raises Refusal for a URL that cannot be meant."""
        match = _URL.fullmatch(self.shadow_url)
        if match is None or int(match[2] or 80) > 65535:
            raise Refusal(f"SHADOW_URL={self.shadow_url!r}: expected http://HOST[:PORT][/PATH]")
        return Target(match[1].strip("[]"), int(match[2] or 80), match[3])


@dataclass(frozen=True)
class Target:
    """The candidate's address; `path` is what stands before /predict there."""

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
