"""Takes a copy of a request and its answer as they pass, and changes neither.

Whatever goes wrong in here, the server and the application behind go on as if it were not there.
The one thing that may never happen is waiting: gunicorn calls `close` before it reads a client's
next request.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from service.shadow.admission import Admission, Refused
from service.shadow.copies import Copy
from service.shadow.settings import ShadowSettings

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]

_LENGTH = re.compile(r"[0-9]{1,18}")


class ShadowMiddleware:
    """Passes everything through until `admission` is set, in the worker."""

    def __init__(self, app: Wsgi, settings: ShadowSettings) -> None:
        self.admission: Admission | None = None
        self._app = app
        self._routes = frozenset(settings.routes)
        self._limits = Limits(settings)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        admission = self.admission
        if (
            admission is None
            or environ["PATH_INFO"] not in self._routes
            or environ["REQUEST_METHOD"] != "POST"
            or not admission.admits(environ)
        ):
            return self._app(environ, start_response)
        passing = Passing(environ, start_response, admission, self._limits)
        environ["wsgi.input"] = passing.body
        try:
            passing.chunks = self._app(environ, passing.start_response)
        except BaseException:
            passing.settle()
            raise
        return passing


class Limits:
    """What of a request and its answer may be kept."""

    def __init__(self, settings: ShadowSettings) -> None:
        self.body = settings.shadow_max_body_bytes
        self.answer = settings.shadow_max_answer_bytes
        names = [name.upper().replace("-", "_") for name in settings.headers]
        # As WSGI calls them.
        self.headers = [n if n == "CONTENT_TYPE" else f"HTTP_{n}" for n in names]


class Tee:
    """A request's body as the application reads it, and a copy of what it has read."""

    def __init__(self, stream: Any, declared: str, limit: int) -> None:
        self.too_large = False
        self._stream = stream
        self._declared = int(declared) if _LENGTH.fullmatch(declared) else None
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False

    def read(self, *size: int) -> bytes:
        part: bytes = self._stream.read(*size)
        # A stream gives less than it is asked for only where it ends.
        asked = size[0] if size and size[0] is not None else -1
        return self._keep(part, asked < 0 or len(part) < asked)

    def readline(self, *size: int) -> bytes:
        line: bytes = self._stream.readline(*size)
        return self._keep(line, not line and (not size or size[0] != 0))

    def readlines(self, *hint: int) -> list[bytes]:
        lines: list[bytes] = self._stream.readlines(*hint)
        self._keep(b"".join(lines), not hint)
        return lines

    def __iter__(self) -> Iterator[bytes]:
        for line in self._stream:
            yield self._keep(line, False)
        self._ended = True

    def __getattr__(self, name: str) -> Any:
        """Whatever else the stream can do, and the server relies on."""
        if name.startswith("read"):
            self.too_large = True
        return getattr(self._stream, name)

    def whole(self) -> bytes | None:
        """Return the body, None unless all of it was read and kept."""
        complete = self._ended if self._declared is None else self._size == self._declared
        return b"".join(self._parts) if complete and not self.too_large else None

    def _keep(self, part: bytes, ended: bool) -> bytes:
        self._ended = self._ended or ended
        self._size += len(part)
        if self._size > self._limit:
            self.too_large = True
            self._parts.clear()
        elif part:
            self._parts.append(part)
        return part


class Passing:
    """A request on its way: the answer that the server iterates over, and what it was made of."""

    def __init__(
        self,
        environ: dict[str, Any],
        start_response: Any,
        admission: Admission,
        limits: Limits,
    ) -> None:
        self.body = Tee(environ["wsgi.input"], environ.get("CONTENT_LENGTH") or "", limits.body)
        self.chunks: Iterable[bytes] = ()
        self._environ = environ
        self._start_response = start_response
        self._admission = admission
        self._limits = limits
        self._started = time.perf_counter()
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._settled = False

    def start_response(self, status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        self._status = int(status[:3]) if status[:3].isdecimal() else 0
        self._headers = headers
        write = self._start_response(status, headers, *error)

        def written(content: bytes) -> Any:
            self._status = 0  # not a whole answer, without what is written here
            return write(content)

        return write and written

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self._size += len(chunk)
            if self._size <= self._limits.answer:
                self._parts.append(chunk)
            yield chunk
        self._ended = True

    def close(self) -> None:
        try:
            if hasattr(self.chunks, "close"):
                self.chunks.close()
        finally:
            self.settle()

    def settle(self) -> None:
        """Hand over the copy, or say why there is none; once, and without waiting or raising."""
        if not self._settled:
            self._settled = True
            self._admission.settle(self._copy)

    def _copy(self) -> Copy:
        """Raises Refused."""
        if not 200 <= self._status < 300:
            raise Refused("skipped", "status")
        if self.body.too_large:
            raise Refused("skipped", "body_too_large")
        if self._size > self._limits.answer:
            raise Refused("skipped", "answer_too_large")
        body = self.body.whole()
        if body is None or not self._ended:
            raise Refused("skipped", "incomplete")
        get = self._environ.get
        return Copy(
            route=self._environ["PATH_INFO"],
            values=[get(name) for name in self._limits.headers],
            body=body,
            status=self._status,
            headers=self._headers,
            answer=b"".join(self._parts),
            seconds=time.perf_counter() - self._started,
        )
