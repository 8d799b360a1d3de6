"""What is ours in gunicorn's own HTTP, by which all but plain requests go."""

from __future__ import annotations

from gunicorn.http import errors, parser, wsgi
from gunicorn.http.unreader import SocketUnreader

from service import plain_http
from service.turns import take_turns


class _Unreader(SocketUnreader):  # type: ignore[misc]
    # gunicorn copies what it holds for each KiB of a body that it throws away.
    max_body_chunk = 64 * 1024
    _begun = False

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self._begun:  # a probe, on a connection of its own, never lines up
            take_turns()
        self._begun = True
        with plain_http.without_timeout(self.sock):
            received: bytes = super().chunk(size_hint)
        return received


class _Response(wsgi.Response):  # type: ignore[misc]
    def default_headers(self) -> list[str]:
        lines: list[str] = super().default_headers()
        return [line for line in lines if not line.startswith("Server:")] + [plain_http.NOSNIFF]


# gunicorn has no settings for these.
parser.SocketUnreader = _Unreader
wsgi.Response = _Response

# What gunicorn's parser refuses is a 400, but for these. That is so for an unknown transfer coding
# too: a 501 would count as a fault of ours, and anybody could bring it about.
_REFUSALS: dict[type[Exception], int] = {
    errors.LimitRequestLine: 414,
    errors.ExpectationFailed: 417,
    errors.LimitRequestHeaders: 431,
}


def status_of(error: BaseException) -> int:
    """Return the status of what gunicorn could not read (4xx), or failed at (500)."""
    # An answer's header that cannot be sent is a ParseException too, but our fault.
    ours = errors.InvalidResponseHeader, errors.InvalidResponseHeaderName
    if isinstance(error, errors.ParseException) and not isinstance(error, ours):
        return _REFUSALS.get(type(error), 400)
    return 500
