"""Reads plain requests for /predict: a short way beside gunicorn's own HTTP parser.

gunicorn reads HTTP in Python, with care for all that HTTP allows; for a small prediction that costs
more than the prediction. `take` looks at what has arrived in a socket. If it is a plain request for
/predict, as clients send it, it is taken from the socket and becomes a WSGI environment. Anything
else stays in the socket, for gunicorn to read, answer or refuse.
"""

from __future__ import annotations

import io
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import gevent

from service.settings import Settings

# Longer heads and bodies are left to gunicorn: there its care costs little in comparison.
MAX_HEAD = 4096
MAX_BODY = 64 * 1024
_ROOT = re.escape(Settings.from_env().root_path.encode())  # a proxy may strip it or not
PLAIN = re.compile(
    rb"POST (?:" + _ROOT + rb")?/predict HTTP/1\.1\r\n"
    # No underscores in names, which WSGI would confuse with hyphens; no folded lines; in values no
    # control characters. No two ways to match anything, so no time to lose on hostile input.
    rb"((?:[A-Za-z0-9-]+:[\t\x20-\x7e\x80-\xff]*\r\n){1,50})\r\n"
)
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")
_LENGTH = re.compile(r"[0-9]{1,6}")
# Headers that frame a message other than by its length, or ask for more than an answer; and those
# that may contradict X-Forwarded-Proto, which gunicorn refuses.
_INVOLVED = {"TRANSFER-ENCODING", "EXPECT", "UPGRADE", "TE", "TRAILER"}
_INVOLVED |= {"X-FORWARDED-SSL", "X-FORWARDED-PROTOCOL"}

NOSNIFF = "X-Content-Type-Options: nosniff\r\n"  # on every answer


class WholeBody(io.BytesIO):
    """A body that has come in one piece with its head."""

    def finish(self, seconds: float) -> bool:
        return True


class ComingBody:
    """A body that is still on its way."""

    def __init__(self, client: Any, length: int) -> None:
        self._client = client
        self._left = length

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or what there is until the body ends or the client does."""
        wanted, parts = min(size, self._left), []
        with without_timeout(self._client):
            while wanted and (part := self._client.recv(wanted)):
                parts.append(part)
                wanted -= len(part)
                self._left -= len(part)
        return b"".join(parts)

    def finish(self, seconds: float) -> bool:
        """Read what the application has left unread; return whether all of it came in time."""
        if self._left:
            with gevent.Timeout(seconds, False):  # type: ignore[arg-type]
                self.read(self._left)
        return self._left == 0


@contextmanager
def without_timeout(client: Any) -> Iterator[None]:
    """While a body is read, for which the application has a limit of its own."""
    seconds = client.gettimeout()
    client.settimeout(None)
    try:
        yield
    finally:
        client.settimeout(seconds)


def peek(client: Any) -> bytes:
    """Return what has come of the next request; it stays in the socket.

    Raises OSError if the client has gone, or nothing comes within the socket's timeout.
    """
    if seen := client.recv(MAX_HEAD + MAX_BODY, socket.MSG_PEEK):
        return bytes(seen)
    raise ConnectionResetError


def take(client: Any, seen: bytes) -> dict[str, Any] | None:
    """Take a plain request, of which `seen` is there, from the socket; return its WSGI environment.

    `wsgi.input` is a WholeBody or a ComingBody. Returns None, having taken nothing, for any other
    request.
    """
    match = PLAIN.match(seen, 0, MAX_HEAD)
    if match is None:
        return None
    lines = match[1].decode("latin-1").split("\r\n")[:-1]
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.upper()] = value.strip(" \t")
    digits = headers.get("CONTENT-LENGTH", "")
    if (
        len(headers) < len(lines)  # a header came twice
        or not _LENGTH.fullmatch(digits)
        or (length := int(digits)) > MAX_BODY
        or not _HOST.fullmatch(headers.get("HOST", ""))
        or not _INVOLVED.isdisjoint(headers)
        or headers.get("CONNECTION", "keep-alive").lower() != "keep-alive"
    ):
        return None
    start = match.end()
    body: WholeBody | ComingBody
    if len(seen) >= start + length:
        client.recv(start + length)
        body = WholeBody(seen[start : start + length])
    else:
        client.recv(start)
        body = ComingBody(client, length)
    environ = {f"HTTP_{name.replace('-', '_')}": value for name, value in headers.items()}
    environ["CONTENT_LENGTH"] = environ.pop("HTTP_CONTENT_LENGTH")
    environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
    return environ | {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/predict",
        "QUERY_STRING": "",
        "SERVER_NAME": headers["HOST"],
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "gunicorn.socket": client,
    }


def head(status: str, headers: list[tuple[str, str]], keep: bool) -> bytes:
    """Return the head of an answer; `keep`: whether the connection stays open after it."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    connection = "keep-alive" if keep else "close"
    return (
        f"HTTP/1.1 {status}\r\nDate: {_date(int(time.time()))}\r\n{NOSNIFF}"
        f"Connection: {connection}\r\n{lines}\r\n".encode("latin-1")
    )


@lru_cache(1)
def _date(now: int) -> str:
    """Return the time as HTTP writes it; made once a second."""
    return formatdate(now, usegmt=True)
