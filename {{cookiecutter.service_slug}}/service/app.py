"""The HTTP surface: routes, errors, and the walk of one request from bytes to bytes."""

from __future__ import annotations

import logging
import re
import uuid
from time import perf_counter
from typing import Any

import gevent
import msgspec
from flask import Flask, Response, request
from flask.sessions import SessionInterface
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_options_header

from service.engine import Engine, Predict
from service.errors import Refusal, RequestError, refuse
from service.openapi import openapi
from service.settings import Settings

log = logging.getLogger("service")

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def main() -> Flask:
    """Return the application for gunicorn, or end the process with one line that says why not."""
    import model

    try:
        return create_app(Settings.from_env(), model.predict)
    except Refusal as refusal:
        refuse(refusal)


def create_app(settings: Settings, predict: Predict) -> Flask:
    """Return the application, not yet ready: its engine starts in the worker, after the fork.

    Raises Refusal if there is no artifact to trust.
    """
    engine = Engine(settings, predict)
    app = Flask("service", static_folder=None)
    app.extensions["engine"] = engine
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.session_interface = NoSessions()
    _add_predict(app, engine, settings)
    _add_health(app, engine)
    _add_pages(app, engine)
    _add_errors(app, engine)
    return app


class NoSessions(SessionInterface):
    """Spares each request the making of a session that nobody uses: a third of Flask's own time."""

    def open_session(self, app: Flask, request: Any) -> Any:
        return {}

    def is_null_session(self, obj: object) -> bool:
        return True


def _add_health(app: Flask, engine: Engine) -> None:
    @app.get("/healthz")
    def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def ready() -> tuple[dict[str, str], int]:
        return ({"status": "ok"}, 200) if engine.ready else ({"status": "not ready"}, 503)


def _add_predict(app: Flask, engine: Engine, settings: Settings) -> None:
    encode = msgspec.json.Encoder().encode

    @app.post("/predict")
    def predict() -> Response:
        body = _read_body(settings)
        received = perf_counter()
        rows = engine.schema.decode(body)
        job = engine.batcher.submit(rows)
        answered = perf_counter()
        content = encode({"predictions": job.answers})
        timing = (
            f"decode;dur={(job.submitted - received) * 1e3:.3f}, "
            f"queue;dur={(job.started - job.submitted) * 1e3:.3f}, "
            f"inference;dur={(job.finished - job.started) * 1e3:.3f}, "
            f"encode;dur={(perf_counter() - answered) * 1e3:.3f}"
        )
        return Response(
            content, headers=[("Content-Type", "application/json"), ("Server-Timing", timing)]
        )


def _read_body(settings: Settings) -> bytes:
    """Return the request's body; raises RequestError for a wrong kind, too much, too late."""
    environ = request.environ
    kind = environ.get("CONTENT_TYPE", "")
    if kind != "application/json" and parse_options_header(kind)[0].lower() != "application/json":
        raise RequestError(
            415, f"send Content-Type: application/json, not {kind[:100] or 'nothing'}"
        )
    if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise RequestError(415, "send the body without Content-Encoding")
    limit, timeout = settings.max_body_bytes, settings.body_timeout
    too_large = RequestError(413, f"the body is larger than {limit} bytes")
    declared = request.content_length
    if declared is not None and declared > limit:
        raise too_large
    # Not Flask's get_data: of a chunked body over the limit it would return the part within.
    # gunicorn's stream ends where the body does.
    with gevent.Timeout(timeout, RequestError(408, f"no whole body within {timeout:g} s")):
        body: bytes = environ["wsgi.input"].read(limit + 1)
    if len(body) > limit:
        raise too_large
    if declared is not None and len(body) < declared:
        raise RequestError(400, f"the body ended after {len(body)} of {declared} bytes")
    return body


def _add_pages(app: Flask, engine: Engine) -> None:
    manifest = engine.manifest
    # Golden data are real rows: people may not be in them, but they are not metadata either.
    metadata = {k: v for k, v in msgspec.to_builtins(manifest).items() if k != "golden"}
    document = openapi(manifest, engine.schema)

    @app.get("/metadata")
    def get_metadata() -> dict[str, Any]:
        return metadata

    @app.get("/openapi.json")
    def get_openapi() -> dict[str, Any]:
        return document

    @app.get("/")
    def get_card() -> Response:
        return Response(engine.card, mimetype="text/html")

    docs = get_swaggerui_blueprint(
        "/docs",
        "/openapi.json",
        # Without this Swagger UI asks a public server to validate the document.
        config={"app_name": manifest.name, "validatorUrl": None, "defaultModelsExpandDepth": 0},
    )
    app.register_blueprint(docs)
    app.add_url_rule("/docs", view_func=app.view_functions["swagger_ui.show"])


def _add_errors(app: Flask, engine: Engine) -> None:
    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        return _error(error.status, error.message, error.details, error.headers)

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> Response:
        if error.response is not None:  # a redirect, say
            return error.response  # type: ignore[return-value]
        status = error.code or 500
        message = f"{error.name}: {request.method} {request.path[:200]}"
        allow = {k: v for k, v in error.get_headers() if k == "Allow"}
        return _error(status, message, [], allow)

    @app.errorhandler(ValueError)
    def unanswerable(error: ValueError) -> Response:
        log.warning("request %s: the model raised ValueError: %s", _request_id(), error)
        return _error(400, f"the model cannot answer this: {str(error)[:200]}", [], {})

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        log.error("request %s failed", _request_id(), exc_info=error)
        return _error(500, "internal error", [], {})

    @app.after_request
    def name_itself(response: Response) -> Response:
        response.headers.add("X-Request-Id", _request_id())
        response.headers.add("X-Model-Version", engine.manifest.version)
        return response


def _error(status: int, message: str, details: list[Any], headers: dict[str, str]) -> Response:
    body = {"error": message, "details": details, "request_id": _request_id()}
    return Response(msgspec.json.encode(body), status, headers, mimetype="application/json")


def _request_id() -> str:
    """Return the client's id for this request if it sent a usable one, else a new one."""
    environ = request.environ
    found: str | None = environ.get("service.request_id")
    if found is None:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        found = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        environ["service.request_id"] = found
    return found
