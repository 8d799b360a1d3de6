"""The body of a request, read within bounds of kind, size and time."""

from __future__ import annotations

import codecs
import zlib
from typing import Any

import gevent
from gunicorn.http.errors import ParseException
from werkzeug.http import parse_options_header

from service.errors import RequestError, overloaded
from service.settings import Settings

JSON = "application/json"
# A body of up to so many bytes is small: it is read in one piece, as larger ones are in several.
_SMALL = 64 * 1024
# So many bodies of the largest size, or of 1 MiB, may be under way. Without a limit it would be as
# many as there are connections, for as long as a client may take to send one or wait for an answer.
_MOST_LARGE = 64
# Compressed bytes of a body that are decompressed in a row, to at most some 16 MiB.
_PIECE = 16 * 1024
# An empty member is 20 bytes that take as long as thousands; what people concatenate has a few.
_MOST_MEMBERS = 1000


class Bodies:
    """Reads the bodies of requests; large ones take a bounded amount of memory, all together."""

    def __init__(self, settings: Settings) -> None:
        self._limit, self._seconds = settings.max_body_bytes, settings.body_timeout_seconds
        self._first = min(_SMALL, self._limit + 1)
        self._held = 0
        self._most_held = _MOST_LARGE * max(self._limit, 2**20)

    def read(self, environ: dict[str, Any], unsaid: str = "") -> bytes:
        """Return the body, decompressed and without a byte order mark; it is held until `release`.

        `unsaid`: the Content-Type of a body that comes without.

        Raises RequestError: 415 wrong kind, 413 too large, 408 too slow, 503 too many, 400.
        """
        kind = environ.get("CONTENT_TYPE") or unsaid
        if kind != JSON and parse_options_header(kind)[0].lower() != JSON:
            raise RequestError(415, f"send Content-Type: {JSON}, not {kind[:100] or 'nothing'}")
        coding = environ.get("HTTP_CONTENT_ENCODING", "identity").lower()
        if coding not in ("identity", "gzip", "x-gzip", ""):
            message = f"send Content-Encoding: gzip, or none, not {coding[:100]}"
            raise RequestError(415, message, headers={"Accept-Encoding": "gzip"})
        declared = int(environ.get("CONTENT_LENGTH") or -1)  # gunicorn has refused what is none
        if declared > self._limit:
            raise self._too_large()
        seconds = self._seconds
        try:
            # TimeoutError is an Exception, which gevent.Timeout itself is not: gunicorn has to
            # notice that the body was not read to its end, or the rest would pass for the next
            # request.
            with gevent.Timeout(seconds, TimeoutError):
                # gunicorn's stream ends where the body does, be it chunked or of a known length.
                body: bytes = environ["wsgi.input"].read(self._first)
                if len(body) == self._first:
                    body = self._large(body, environ)
        except TimeoutError:
            raise RequestError(408, f"no whole body within {seconds:g} s") from None
        except (OSError, ParseException) as error:  # a chunk is malformed, or cut short
            raise RequestError(400, f"the body cannot be read: {type(error).__name__}") from None
        if len(body) > self._limit:
            raise self._too_large()
        if len(body) < declared:
            raise RequestError(400, f"the body ended after {len(body)} of {declared} bytes")
        if coding.endswith("gzip"):
            body = self._decompressed(body, environ)
        return body.removeprefix(codecs.BOM_UTF8)

    def release(self, environ: dict[str, Any]) -> None:
        """Take note that a request is over, whether it had a body or not."""
        if "service.held" in environ:
            self._held -= environ.pop("service.held")

    def _large(self, beginning: bytes, environ: dict[str, Any]) -> bytes:
        parts, size = [beginning], len(beginning)
        read = environ["wsgi.input"].read
        while size <= self._limit and (part := read(min(_SMALL, self._limit + 1 - size))):
            self._hold(len(part), environ)
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _hold(self, size: int, environ: dict[str, Any]) -> None:
        if self._held + size > self._most_held:
            raise overloaded(1, "bytes")
        self._held += size
        environ["service.held"] = environ.get("service.held", 0) + size

    def _decompressed(self, body: bytes, environ: dict[str, Any]) -> bytes:
        """Return what is in a gzip stream, and stop when that is over the limit."""
        parts: list[bytes] = []
        start = size = 0
        for _ in range(_MOST_MEMBERS):
            member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            while not member.eof:
                if start == len(body):
                    raise RequestError(400, "the body ends before its gzip stream does")
                if start:
                    gevent.sleep(1e-6)  # the other connections' turn
                piece = body[start : start + _PIECE]
                try:
                    part = member.decompress(piece, self._limit + 1 - size)
                except zlib.error as error:
                    raise RequestError(400, f"the body is not gzip: {error}") from None
                start += len(piece) - len(member.unused_data)
                size += len(part)
                if size > self._limit:
                    raise self._too_large()
                if size > _SMALL:
                    self._hold(len(part), environ)
                parts.append(part)
            if start == len(body):
                return b"".join(parts)
        raise RequestError(400, f"the body has more than {_MOST_MEMBERS} gzip members")

    def _too_large(self) -> RequestError:
        return RequestError(413, f"the body is larger than {self._limit} bytes")
