"""What a platform's contract consists of, and its errors where it has a shape for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec
from flask import Flask, request

from service.engine import Engine
from service.errors import Detail, one_line
from service.predict import Contract

View = Callable[[], Any]


@dataclass(frozen=True)
class Protocol:
    """A platform's contract.

    `contracts`: where it asks for predictions. `probes` and `pages`: its GET routes and their
    views; probes are asked every few seconds, and not counted. `models`: the beginning of its
    routes for models, below which there may be others' names; `model`: ours.
    """

    contracts: Sequence[Contract]
    probes: Mapping[str, View]
    pages: Mapping[str, View] = field(default_factory=dict)
    models: str = ""
    model: str = ""

    def add_to(self, app: Flask) -> None:
        """Add its routes, but for those that are there: platforms may name the same."""
        for path, view in [*self.probes.items(), *self.pages.items()]:
            if (endpoint := f"GET {path}") not in app.view_functions:
                app.add_url_rule(path, endpoint, view, strict_slashes=False)
        for contract in self.contracts:
            # Without a view: for OPTIONS, and for the 405 that other methods get.
            app.add_url_rule(contract.path, f"POST {contract.path}", methods=["POST"])
        if self.models:
            rule = f"{self.models}/<path:rest>"
            app.add_url_rule(rule, rule, self._not_found, methods=["GET", "POST"])

    def _not_found(self, rest: str) -> tuple[dict[str, str], int]:
        asked = f"{request.method} {quote(request.path[:200])}"
        return {"error": f"Not Found: {asked}; the model here is {self.model}"}, 404


def when_ready(engine: Engine, said: Any) -> View:
    """Return the view of a probe of readiness, which answers `said` or 503."""
    not_ready = {"error": f"model {engine.manifest.name} is not ready"}
    return lambda: (said, 200) if engine.ready else (not_ready, 503)


def plain_error(environ: dict[str, Any], message: str, details: Iterable[Detail] = ()) -> bytes:
    """Return the body of an error as KServe has it; `details` are in the message as well."""
    return msgspec.json.encode({"error": one_line(message)})
