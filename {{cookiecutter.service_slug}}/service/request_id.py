"""A request's id, which its answer, its log lines and its spans share."""

from __future__ import annotations

import random
import re
from typing import Any

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id(environ: dict[str, Any]) -> str:
    """Return the client's id for this request if it sent a usable one, else a new one."""
    found: str | None = environ.get("service.request_id")
    if found is None:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        # Not uuid4: its system call gives the interpreter away, to a model that may keep it.
        found = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        environ["service.request_id"] = found
    return found
