"""The application: prediction in front, and behind it, in Flask, all that need not be quick."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from service import artifact
from service.ab import share
from service.body import Bodies
from service.cors import Cors
from service.docs import docs
from service.engine import Engine, PredictFunction
from service.errors import Detail, Refusal, RequestError, error_content, exit_if_refused
from service.feedback import feedback
from service.openapi import openapi
from service.paths import Application
from service.predict import Predict
from service.protocols import protocols
from service.request_id import request_id
from service.settings import Settings
from service.shadow import shadow
from service.telemetry import HEALTH, Telemetry

# For pages: nothing from other hosts, no script that is not a file of ours, in nobody's frame.
# Styles are within the card and in what Swagger UI makes, pictures of both are data.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)


@exit_if_refused()
def main() -> Flask:
    """Return the application for gunicorn, or end the process with one line that says why not."""
    try:
        from model import predict
    except (Exception, SystemExit) as error:
        raise Refusal(f"model.py: {type(error).__name__}: {error}") from error
    return create_app(Settings.from_env(), predict)


def create_app(settings: Settings, predict: PredictFunction) -> Flask:
    """Return the application, not yet ready: its engine starts in the worker, after the fork.

    Raises Refusal if there is no artifact to trust.
    """
    engine = Engine(settings, predict)
    app = Application(settings.root_path)
    telemetry = Telemetry(engine.manifest, settings)
    app.extensions["engine"] = engine
    app.extensions["telemetry"] = telemetry
    app.json.sort_keys = False  # type: ignore[attr-defined]
    spoken = protocols(engine, settings)
    for protocol in spoken:  # first, so that a route of theirs is theirs
        protocol.add_to(app)
    _add_pages(app, engine, settings.root_path)
    bodies = Bodies(settings)  # one for all, which bounds the memory that they take
    view = feedback(engine.manifest, settings, telemetry, bodies)
    app.add_url_rule("/feedback", "feedback", view, methods=["POST"])
    _add_errors(app)
    _add_hooks(app, engine, telemetry, HEALTH.union(*(protocol.probes for protocol in spoken)))
    users = share(engine.manifest, settings)
    app.extensions["ab"] = users
    for contract in (contract for protocol in spoken for contract in protocol.contracts):
        app.wsgi_app = Predict(  # type: ignore[method-assign]
            app.wsgi_app, engine, settings, telemetry, bodies, contract=contract
        )
    app.wsgi_app = Predict(  # type: ignore[method-assign]
        app.wsgi_app, engine, settings, telemetry, bodies, users
    )
    if traffic := shadow(engine.manifest, settings):
        app.extensions["shadow"] = traffic
        app.wsgi_app = traffic.wrap(app.wsgi_app)  # type: ignore[method-assign,assignment]
    if settings.cors_origins:
        app.wsgi_app = Cors(app.wsgi_app, settings.origins)  # type: ignore[method-assign]
    return app


def _add_pages(app: Flask, engine: Engine, root_path: str) -> None:
    manifest = engine.manifest
    metadata = artifact.public(manifest)
    document = openapi(manifest, engine.schema, root_path)
    card = engine.card
    if root_path:
        # Its links are relative, and a proxy may show it without the slash that they count on.
        card = card.replace(b"<head>", f'<head><base href="{root_path}/">'.encode(), 1)

    def ready() -> tuple[dict[str, str], int]:
        return ({"status": "ok"}, 200) if engine.ready else ({"status": "not ready"}, 503)

    app.add_url_rule("/healthz", "healthz", lambda: {"status": "ok"})
    app.add_url_rule("/readyz", "readyz", ready)
    app.add_url_rule("/metadata", "metadata", lambda: metadata)
    app.add_url_rule("/openapi.json", "openapi", lambda: document)
    app.add_url_rule("/", "card", lambda: Response(card, mimetype="text/html"))
    # Without a view: for OPTIONS, and for the 405 that other methods get.
    app.add_url_rule("/predict", "predict", methods=["POST"])
    app.register_blueprint(docs(manifest.name))


def _add_errors(app: Flask) -> None:
    def answer(
        status: int, message: str, headers: dict[str, str], details: Iterable[Detail] = ()
    ) -> Response:
        content = error_content(request.environ, message, details)
        return Response(content, status, headers, mimetype="application/json")

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> Response:
        allow = {name: value for name, value in error.get_headers() if name == "Allow"}
        message = f"{error.name}: {request.method} {quote(request.path[:200])}"
        return answer(error.code or 500, message, allow)

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        g.record.reason = error.reason
        return answer(error.status, error.message, error.headers, error.details)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        g.error = error
        return answer(500, "internal error", {})


def _add_hooks(app: Flask, engine: Engine, telemetry: Telemetry, probes: set[str]) -> None:
    """`probes`: paths that are not counted."""

    @app.before_request
    def begin() -> None:
        if request.path not in probes:
            # The rule, because a path may be anything.
            route = request.url_rule.rule if request.url_rule else "other"
            g.record = telemetry.begin(request.environ, route)

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = request_id(request.environ)
        response.headers["X-Model-Version"] = engine.manifest.version
        if response.mimetype == "text/html":
            response.headers["Content-Security-Policy"] = CONTENT_POLICY
        if "record" in g:
            g.record.error = g.get("error")
            telemetry.end(g.record, request.environ, response.status_code)
        return response
