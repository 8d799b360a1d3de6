"""The application: prediction in front, and behind it, in Flask, all that need not be quick."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Flask, Response, g, request
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.exceptions import HTTPException

from service.engine import Engine
from service.engine import Predict as PredictFunction
from service.errors import Refusal, refuse
from service.openapi import openapi
from service.predict import Predict, error_content
from service.request_id import request_id
from service.settings import Settings
from service.shadow import shadow
from service.telemetry import HEALTH, Telemetry


def main() -> Flask:
    """Return the application for gunicorn, or end the process with one line that says why not."""
    import model

    try:
        return create_app(Settings.from_env(), model.predict)
    except Refusal as refusal:
        refuse(refusal)


def create_app(settings: Settings, predict: PredictFunction) -> Flask:
    """Return the application, not yet ready: its engine starts in the worker, after the fork.

    Raises Refusal if there is no artifact to trust.
    """
    engine = Engine(settings, predict)
    app = Flask("service", static_folder=None)
    telemetry = Telemetry(engine.manifest, settings)
    app.extensions["engine"] = engine
    app.extensions["telemetry"] = telemetry
    app.json.sort_keys = False  # type: ignore[attr-defined]
    _add_health(app, engine)
    _add_pages(app, engine)
    _add_errors(app)
    _add_headers(app, engine)
    _add_telemetry(app, telemetry)
    app.wsgi_app = Predict(app.wsgi_app, engine, settings, telemetry)  # type: ignore[method-assign]
    if copies := shadow(engine.manifest, settings):
        app.extensions["shadow"] = copies
        app.wsgi_app = copies.wrap(app.wsgi_app)  # type: ignore[method-assign,assignment]
    # Without a view: for OPTIONS, and for the 405 that other methods get.
    app.add_url_rule("/predict", "predict", methods=["POST"])
    return app


def _add_health(app: Flask, engine: Engine) -> None:
    @app.get("/healthz")
    def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def ready() -> tuple[dict[str, str], int]:
        return ({"status": "ok"}, 200) if engine.ready else ({"status": "not ready"}, 503)


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
        config={"app_name": manifest.name, "validatorUrl": None, "layout": "BaseLayout"},
    )
    app.register_blueprint(docs)
    app.add_url_rule("/docs", view_func=app.view_functions["swagger_ui.show"])


def _add_errors(app: Flask) -> None:
    def answer(status: int, message: str, headers: dict[str, str]) -> Response:
        content = error_content(request.environ, message)
        return Response(content, status, headers, mimetype="application/json")

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> Any:
        if error.response is not None:  # a redirect, say
            return error.response
        allow = {name: value for name, value in error.get_headers() if name == "Allow"}
        message = f"{error.name}: {request.method} {request.path[:200]}"
        return answer(error.code or 500, message, allow)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        g.error = error
        return answer(500, "internal error", {})


def _add_headers(app: Flask, engine: Engine) -> None:
    @app.after_request
    def name_itself(response: Response) -> Response:
        response.headers["X-Request-Id"] = request_id(request.environ)
        response.headers["X-Model-Version"] = engine.manifest.version
        return response


def _add_telemetry(app: Flask, telemetry: Telemetry) -> None:
    @app.before_request
    def begin() -> None:
        if request.path not in HEALTH:
            # The rule, because a path may be anything.
            route = request.url_rule.rule if request.url_rule else "other"
            g.seen = telemetry.begin(request.environ, route)

    @app.after_request
    def end(response: Response) -> Response:
        if "seen" in g:
            g.seen.error = g.get("error")
            telemetry.end(g.seen, response.status_code, request_id(request.environ))
        return response
