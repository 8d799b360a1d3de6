"""POST /predict, from socket to socket: the one path that has to be quick.

It stands before Flask, as WSGI middleware, because Flask's own work on a request (contexts,
routing, signals, response objects) costs more than all that is done here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import gevent
import msgspec
from gunicorn.http.errors import ParseException
from werkzeug.http import parse_options_header

from service.engine import Engine
from service.errors import Detail, RequestError
from service.request_id import request_id
from service.settings import Settings
from service.telemetry import Seen, Telemetry

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]

_MILLISECONDS = re.compile(r"[1-9][0-9]{0,8}")
_STATUS = {
    200: "200 OK",
    400: "400 Bad Request",
    408: "408 Request Timeout",
    413: "413 Content Too Large",
    415: "415 Unsupported Media Type",
    499: "499 Client Closed Request",
    500: "500 Internal Server Error",
    503: "503 Service Unavailable",
    504: "504 Gateway Timeout",
}
_encode = msgspec.json.Encoder().encode


class Predict:
    """Answers POST /predict, and leaves all else to the application behind it."""

    def __init__(self, app: Wsgi, engine: Engine, settings: Settings, telemetry: Telemetry) -> None:
        self._app = app
        self._engine = engine
        self._settings = settings
        self._telemetry = telemetry
        self._version = engine.manifest.version

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/predict" or environ["REQUEST_METHOD"] != "POST":
            return self._app(environ, start_response)
        seen = self._telemetry.begin(environ, "/predict")
        status, headers = 200, {}
        try:
            content, headers["Server-Timing"] = self._answer(environ, seen)
        except RequestError as error:
            status, headers, seen.reason = error.status, error.headers, error.reason
            content = error_content(environ, error.message, error.details)
        except ValueError as error:
            status, seen.reason = 400, "ValueError"
            content = error_content(environ, f"the model cannot answer this: {str(error)[:200]}")
        except Exception as error:
            status, seen.error = 500, error
            content = error_content(environ, "internal error")
        self._telemetry.end(seen, status, request_id(environ))
        start_response(
            _STATUS[status],
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(content))),
                ("X-Request-Id", request_id(environ)),
                ("X-Model-Version", self._version),
                *headers.items(),
            ],
        )
        return [content]

    def _answer(self, environ: dict[str, Any], seen: Seen) -> tuple[bytes, str]:
        """Return the answer and what each stage of it took; raises what stands in its way."""
        timeout = _timeout(environ, self._settings.request_timeout_ms) / 1e3
        batcher = self._engine.batcher
        # Before the body is read: a refusal has to be cheap when there are many.
        batcher.refuse_if_overloaded(timeout)
        seen.body = body = _read_body(environ, self._settings)
        received = perf_counter()
        rows = self._engine.schema.decode(body)
        seen.rows = len(rows)
        connection = environ.get("gunicorn.socket")
        descriptor = connection and connection.fileno()
        seen.job = job = batcher.submit(rows, timeout, descriptor, seen)
        answered = perf_counter()
        content = _encode({"predictions": job.answers})
        seen.decode = job.submitted - received
        seen.encode = perf_counter() - answered
        # For shadow traffic, whose copies are made on the answer's way out.
        environ["service.body"] = body
        environ["service.inference_seconds"] = job.finished - job.started
        timing = (
            f"decode;dur={seen.decode * 1e3:.3f}, "
            f"queue;dur={(job.started - job.submitted) * 1e3:.3f}, "
            f"inference;dur={(job.finished - job.started) * 1e3:.3f}, "
            f"encode;dur={seen.encode * 1e3:.3f}"
        )
        return content, timing


def error_content(environ: dict[str, Any], message: str, details: Iterable[Detail] = ()) -> bytes:
    """Return the body that every error has."""
    return _encode({"error": message, "details": list(details), "request_id": request_id(environ)})


def _timeout(environ: dict[str, Any], longest: int) -> int:
    """Return how long this request may take, in ms: what the client asks for, within bounds."""
    asked = environ.get("HTTP_X_REQUEST_TIMEOUT_MS")
    if asked is None:
        return longest
    if not _MILLISECONDS.fullmatch(asked):
        raise RequestError(400, "X-Request-Timeout-Ms: expected a whole number of milliseconds")
    return min(int(asked), longest)


def _read_body(environ: dict[str, Any], settings: Settings) -> bytes:
    """Return the request's body; raises RequestError for a wrong kind, too much, too late."""
    kind = environ.get("CONTENT_TYPE", "")
    if kind != "application/json" and parse_options_header(kind)[0].lower() != "application/json":
        raise RequestError(
            415, f"send Content-Type: application/json, not {kind[:100] or 'nothing'}"
        )
    if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise RequestError(415, "send the body without Content-Encoding")
    limit, timeout = settings.max_body_bytes, settings.body_timeout_seconds
    declared = int(environ.get("CONTENT_LENGTH") or -1)  # gunicorn has refused what is no number
    if declared > limit:
        raise _too_large(limit)
    # gunicorn's stream ends where the body does, whether it is chunked or has a length.
    try:
        # An Exception, which gevent.Timeout itself is not: gunicorn has to notice that the body was
        # not read to its end, or what is left of it would pass for the next request.
        with gevent.Timeout(timeout, TimeoutError):
            body: bytes = environ["wsgi.input"].read(limit + 1)
    except TimeoutError:
        raise RequestError(408, f"no whole body within {timeout:g} s") from None
    except (OSError, ParseException) as error:  # a chunk is malformed, or cut short
        raise RequestError(400, f"the body cannot be read: {type(error).__name__}") from None
    if len(body) > limit:
        raise _too_large(limit)
    if len(body) < declared:
        raise RequestError(400, f"the body ended after {len(body)} of {declared} bytes")
    return body


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the body is larger than {limit} bytes")
