"""Starts the CI system's training by the request, or command, that datadog/retrain describes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tools.drift import DriftError, LaterError
from tools.programs import ToolError, output

VARIABLES = ("RETRAIN_URL", "RETRAIN_TOKEN")
VARIABLE = re.compile(rf"\$({'|'.join(VARIABLES)})\b")
TIMEOUT_SECONDS = 30
# Azure answers 203 and a page to a token that is wrong.
STARTED = (200, 201, 202, 204)
TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}


class _Stay(HTTPRedirectHandler):
    """Follows nothing: the token is for the address that it was given with."""

    def redirect_request(self, *args: Any) -> None:
        return None


def start(definition: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return what was started, in a line; raises DriftError."""
    if "command" in definition:
        try:
            output(*definition["command"])
        except ToolError as error:
            raise DriftError(f"no training started: {error}") from None
        return " ".join(definition["command"])
    request = _request(definition, environ)
    what = f"POST {request.full_url}"
    try:
        with build_opener(_Stay).open(request, timeout=TIMEOUT_SECONDS) as answer:
            status, said = answer.status, answer.read(500)
    except HTTPError as error:
        with error:
            status, said = error.code, error.read(500)
    except (OSError, HTTPException, UnicodeError) as error:
        raise LaterError(f"no training started: {what}: {error}") from None
    if status not in STARTED:
        line = " ".join(f"{status} {said.decode(errors='replace')}".split())[:300]
        later = status == 429 or status >= 500
        raise (LaterError if later else DriftError)(f"no training started: {what}: {line}")
    return f"{what}: {status}"


def _request(definition: Mapping[str, Any], environ: Mapping[str, str]) -> Request:
    given = {name: environ.get(name, "") for name in VARIABLES}
    for name, value in given.items():
        if not value.isascii() or not value.isprintable() or not value or " " in value:
            raise DriftError(f"{name}: not set, or with spaces; datadog/retrain says what it is")
    if not given["RETRAIN_URL"].startswith(("https://", "http://")):
        raise DriftError("RETRAIN_URL: expected an address like that in datadog/retrain")
    payload = _filled(json.loads(definition["payload"]), given)
    encoded = json.dumps(payload) if definition["encode_as"] == "json" else urlencode(payload)
    headers = _filled(json.loads(definition.get("custom_headers", "{}")), given)
    return Request(
        _filled(definition["url"], given),
        data=encoded.encode(),
        headers={"Content-Type": TYPES[definition["encode_as"]]} | headers,
        method="POST",
    )


def _filled(value: Any, given: Mapping[str, str]) -> Any:
    """Return texts with the variables in their places, as values: quotes in them stay within."""
    if isinstance(value, dict):
        return {key: _filled(item, given) for key, item in value.items()}
    return VARIABLE.sub(lambda match: given[match[1]], value) if isinstance(value, str) else value
