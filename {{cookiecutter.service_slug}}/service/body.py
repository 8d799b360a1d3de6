"""The body of a request, read within bounds of kind, size and time."""

from __future__ import annotations

from typing import Any

import gevent
from gunicorn.http.errors import ParseException
from werkzeug.http import parse_options_header

from service.errors import RequestError
from service.settings import Settings


def read_body(environ: dict[str, Any], settings: Settings) -> bytes:
    """Return the body; raises RequestError: 415 wrong kind, 413 too large, 408 too slow, 400."""
    kind = environ.get("CONTENT_TYPE", "")
    if kind != "application/json" and parse_options_header(kind)[0].lower() != "application/json":
        raise RequestError(
            415, f"send Content-Type: application/json, not {kind[:100] or 'nothing'}"
        )
    if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise RequestError(415, "send the body without Content-Encoding")
    limit, seconds = settings.max_body_bytes, settings.body_timeout_seconds
    declared = int(environ.get("CONTENT_LENGTH") or -1)  # gunicorn has refused what is no number
    if declared > limit:
        raise _too_large(limit)
    try:
        # TimeoutError is an Exception, which gevent.Timeout itself is not: gunicorn has to notice
        # that the body was not read to its end, or the rest would pass for the next request.
        with gevent.Timeout(seconds, TimeoutError):
            # gunicorn's stream ends where the body does, whether it is chunked or has a length.
            body: bytes = environ["wsgi.input"].read(limit + 1)
    except TimeoutError:
        raise RequestError(408, f"no whole body within {seconds:g} s") from None
    except (OSError, ParseException) as error:  # a chunk is malformed, or cut short
        raise RequestError(400, f"the body cannot be read: {type(error).__name__}") from None
    if len(body) > limit:
        raise _too_large(limit)
    if len(body) < declared:
        raise RequestError(400, f"the body ended after {len(body)} of {declared} bytes")
    return body


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the body is larger than {limit} bytes")
