"""CORS: lets pages of other origins call the service from a browser, if CORS_ORIGINS names them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from wsgiref.types import WSGIApplication

_EXPOSED = "X-Request-Id, X-Model-Version, Server-Timing, Retry-After"
_PREFLIGHT_SECONDS = "600"  # for which a browser need not ask again; Chromium's most is 7200


class Cors:
    """Adds to each answer of an application, errors too, what browsers want to know.

    Not flask-cors: /predict does not go through Flask.
    """

    def __init__(self, app: WSGIApplication, origins: frozenset[str]) -> None:
        """`origins`: as browsers write them, https://app.example.com; "*" for any."""
        self._app = app
        self._origins = origins

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN", "")
        allowed = "*" if "*" in self._origins else origin if origin in self._origins else ""
        preflight = (
            environ["REQUEST_METHOD"] == "OPTIONS"
            and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        )

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            added = [("Vary", "Origin")]
            if allowed:
                added.append(("Access-Control-Allow-Origin", allowed))
                added.append(("Access-Control-Expose-Headers", _EXPOSED))
            if allowed and preflight:
                asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
                methods = dict(headers).get("Allow", "")
                added.append(("Access-Control-Allow-Headers", asked))
                added.append(("Access-Control-Allow-Methods", methods))
                added.append(("Access-Control-Max-Age", _PREFLIGHT_SECONDS))
            return start_response(status, headers + added, *rest)

        return self._app(environ, start)
