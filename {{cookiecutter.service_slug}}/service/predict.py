"""POST /predict, from socket to socket: the one path that has to be quick.

The contracts of other platforms (service/protocols) are answered by the same code.

It stands before Flask, as WSGI middleware, because Flask's own work on a request (contexts,
routing, signals, response objects) costs more than all that is done here.

What passes through `environ` beside WSGI's own: `service.arrived` (from worker.py: perf_counter),
`service.request_id` (request_id.py), `gunicorn.socket` (whose descriptor tells a client that has
hung up), and, of a request that was answered, for shadow traffic, `service.body` and
`service.inference_seconds`, or `service.arm` if a candidate answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from wsgiref.types import WSGIApplication

import msgspec
from werkzeug.http import HTTP_STATUS_CODES

from service.ab.share import Share
from service.body import Bodies
from service.engine import Engine
from service.errors import RequestError, error_content, text_of
from service.record import RequestRecord, Row
from service.request_id import request_id
from service.settings import Settings
from service.telemetry import Telemetry

_MILLISECONDS = re.compile(r"[1-9][0-9]{0,8}")
_STATUS = {code: f"{code} {name}" for code, name in HTTP_STATUS_CODES.items()}
_STATUS[499] = "499 Client Closed Request"
_encode = msgspec.json.Encoder().encode


def predictions(environ: dict[str, Any], record: RequestRecord) -> bytes:
    """Return the answers of a request as the body that POST /predict has."""
    return _encode({"predictions": record.answers})


@dataclass(frozen=True)
class Contract:
    """Where predictions are asked for, and in which form.

    `decode`: returns the rows of a body, or raises RequestError. `encode`: takes the request's
    environ and its record, with the rows as `decode` returned them, and returns the answer.
    `error`: returns the body of an error, from the request's environ, a message and details.
    `unsaid`: the Content-Type of a body that comes without.
    """

    path: str
    decode: Callable[[bytes], list[Row]]
    encode: Callable[[dict[str, Any], RequestRecord], bytes] = predictions
    error: Callable[..., bytes] = error_content
    unsaid: str = ""


class Predict:
    """Answers POST requests of one contract, and leaves all else to the application behind it."""

    def __init__(
        self,
        app: WSGIApplication,
        engine: Engine,
        settings: Settings,
        telemetry: Telemetry,
        bodies: Bodies,
        share: Share | None = None,
        contract: Contract | None = None,
    ) -> None:
        """`share`: of the users, that a candidate answers. `contract`: None for /predict's."""
        self._app = app
        self._engine = engine
        self._settings = settings
        self._telemetry = telemetry
        self._bodies = bodies
        self._share = share
        self._version = engine.manifest.version
        contract = contract or Contract("/predict", engine.schema.decode)
        self._path, self._unsaid, self._decode = contract.path, contract.unsaid, contract.decode
        self._encode, self._error = contract.encode, contract.error

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != self._path or environ["REQUEST_METHOD"] != "POST":
            return self._app(environ, start_response)
        record = self._telemetry.begin(environ, self._path)
        if self._share:
            self._share.assign(environ, record)
        status, headers = 200, {}
        try:
            content, headers["Server-Timing"] = self._answer(environ, record)
        except RequestError as error:
            status, headers, record.reason = error.status, error.headers, error.reason
            content = self._error(environ, error.message, error.details)
        except ValueError as error:
            status, record.reason = 400, "ValueError"
            content = self._error(environ, f"the model cannot answer this: {text_of(error)[:200]}")
        except Exception as error:
            status, record.error = 500, error
            content = self._error(environ, "internal error")
        finally:
            self._bodies.release(environ)
            # Its traceback leads back to the record: body and rows would wait for the collector.
            record.failure = None
        self._telemetry.end(record, environ, status)
        if self._share and record.assignment:
            self._share.note(record, record.assignment)
        start_response(
            _STATUS.get(status) or f"{status} Error",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(content))),
                ("X-Request-Id", request_id(environ)),
                ("X-Model-Version", record.version or self._version),
                *headers.items(),
            ],
        )
        return [content]

    def _answer(self, environ: dict[str, Any], record: RequestRecord) -> tuple[bytes, str]:
        """Return the answer and what each stage of it took; raises what stands in its way."""
        timeout = _timeout(environ, self._settings.request_timeout_ms) / 1e3
        batcher = self._engine.batcher
        # Before the body is read: a refusal has to be cheap when there are many.
        batcher.refuse_if_overloaded(timeout)
        environ["service.body"] = body = self._bodies.read(environ, self._unsaid)
        received = perf_counter()
        record.rows = self._decode(body)
        record.row_count = len(record.rows)
        decoded = perf_counter()
        record.decode_seconds = decoded - received
        if self._share and record.assignment:
            # Only what live could read goes there: callers' mistakes are named here.
            content = self._share.ask(environ, record, record.assignment, timeout)
            asked = perf_counter() - decoded
            if content is not None:
                record.rows = ()
                return content, f"candidate;dur={asked * 1e3:.3f}"
            timeout = max(0.0, timeout - asked)
        if connection := environ.get("gunicorn.socket"):
            record.connection = connection.fileno()
        batcher.submit(record, timeout)
        answered = perf_counter()
        content = self._encode(environ, record)
        record.encode_seconds = perf_counter() - answered
        record.answered = True
        # Records wait for their report in hundreds; rows would fill the CPU's caches meanwhile.
        record.rows, record.answers = (), []
        environ["service.inference_seconds"] = record.predict_seconds
        timing = (
            f"decode;dur={record.decode_seconds * 1e3:.3f}, "
            f"queue;dur={record.queue_seconds * 1e3:.3f}, "
            f"inference;dur={record.predict_seconds * 1e3:.3f}, "
            f"encode;dur={record.encode_seconds * 1e3:.3f}"
        )
        return content, timing


def _timeout(environ: dict[str, Any], longest: int) -> int:
    """Return how long this request may take, in ms: what the client asks for, within bounds."""
    asked = environ.get("HTTP_X_REQUEST_TIMEOUT_MS")
    if asked is None:
        return longest
    if not _MILLISECONDS.fullmatch(asked):
        raise RequestError(400, "X-Request-Timeout-Ms: expected a whole number of milliseconds")
    return min(int(asked), longest)
