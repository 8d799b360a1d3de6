"""The application: prediction in front, and behind it, in Flask, all that need not be quick."""

from __future__ import annotations

from flask import Flask, Response, g, redirect, request
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.exceptions import HTTPException

from service import artifact
from service.engine import Engine, PredictFunction
from service.errors import error_content, exit_if_refused
from service.openapi import openapi
from service.predict import Predict
from service.request_id import request_id
from service.settings import Settings
from service.shadow import shadow
from service.telemetry import HEALTH, Telemetry


@exit_if_refused()
def main() -> Flask:
    """Return the application for gunicorn, or end the process with one line that says why not."""
    import model

    return create_app(Settings.from_env(), model.predict)


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
    _add_pages(app, engine)
    _add_errors(app)
    _add_hooks(app, engine, telemetry)
    app.wsgi_app = Predict(app.wsgi_app, engine, settings, telemetry)  # type: ignore[method-assign]
    if traffic := shadow(engine.manifest, settings):
        app.extensions["shadow"] = traffic
        app.wsgi_app = traffic.wrap(app.wsgi_app)  # type: ignore[method-assign,assignment]
    return app


def _add_pages(app: Flask, engine: Engine) -> None:
    manifest = engine.manifest
    metadata = artifact.public(manifest)
    document = openapi(manifest, engine.schema)

    def ready() -> tuple[dict[str, str], int]:
        return ({"status": "ok"}, 200) if engine.ready else ({"status": "not ready"}, 503)

    app.add_url_rule("/healthz", "healthz", lambda: {"status": "ok"})
    app.add_url_rule("/readyz", "readyz", ready)
    app.add_url_rule("/metadata", "metadata", lambda: metadata)
    app.add_url_rule("/openapi.json", "openapi", lambda: document)
    app.add_url_rule("/", "card", lambda: Response(engine.card, mimetype="text/html"))
    # Opens with /predict expanded and ready to send.
    app.add_url_rule("/docs", "docs", lambda: redirect("docs/#/inference/predict"))
    # Without a view: for OPTIONS, and for the 405 that other methods get.
    app.add_url_rule("/predict", "predict", methods=["POST"])
    docs = get_swaggerui_blueprint(
        "/docs",
        "/openapi.json",
        config={
            "app_name": manifest.name,
            "layout": "BaseLayout",
            "tryItOutEnabled": True,
            "validatorUrl": None,  # a public server, which it would ask to validate the document
        },
    )
    app.register_blueprint(docs)


def _add_errors(app: Flask) -> None:
    def answer(status: int, message: str, headers: dict[str, str]) -> Response:
        content = error_content(request.environ, message)
        return Response(content, status, headers, mimetype="application/json")

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> Response:
        allow = {name: value for name, value in error.get_headers() if name == "Allow"}
        message = f"{error.name}: {request.method} {request.path[:200]}"
        return answer(error.code or 500, message, allow)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        g.error = error
        return answer(500, "internal error", {})


def _add_hooks(app: Flask, engine: Engine, telemetry: Telemetry) -> None:
    @app.before_request
    def begin() -> None:
        if request.path not in HEALTH:
            # The rule, because a path may be anything.
            route = request.url_rule.rule if request.url_rule else "other"
            g.record = telemetry.begin(request.environ, route)

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = request_id(request.environ)
        response.headers["X-Model-Version"] = engine.manifest.version
        if "record" in g:
            g.record.error = g.get("error")
            telemetry.end(g.record, request.environ, response.status_code)
        return response
