"""Paths in one form, so that all who look at a path see the same, whatever came over the wire."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from flask import Flask

_SLASHES = re.compile("/+")


class Application(Flask):
    """A Flask application whose paths come without ROOT_PATH, and with no two slashes in a row.

    Proxies may strip ROOT_PATH or leave it, and clients join their base URL and a path with two
    slashes. Flask itself ignores slashes at the start, but what stands before it would not.
    """

    def __init__(self, root_path: str) -> None:
        super().__init__("service", static_folder=None)
        self._before_routes = root_path

    # Not middleware around `wsgi_app`: that would be a call more for each request.
    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/predict":
            path = _SLASHES.sub("/", f"/{environ['PATH_INFO']}")
            if f"{path}/".startswith(f"{self._before_routes}/"):
                path = path.removeprefix(self._before_routes) or "/"
            environ["PATH_INFO"] = path
        return self.wsgi_app(environ, start_response)
