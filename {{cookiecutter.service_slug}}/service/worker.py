"""gunicorn's gevent worker, with a short way for plain requests.

gunicorn reads HTTP in Python, with care for all that HTTP allows; for a small prediction that costs
more than the prediction. This worker looks at what has arrived without taking it. If it is a plain
request for /predict, as clients send it (see PLAIN), it is read and answered here. Anything else is
left untouched in the socket, for gunicorn to read, answer or refuse, and the connection with it.
"""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import sys
import time
from email.utils import formatdate
from typing import Any

import gevent
from gunicorn.http import parser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.ggevent import GeventWorker

# Longer heads and bodies are gunicorn's: there the care costs little in comparison.
MAX_HEAD = 4096
MAX_BODY = 64 * 1024
PLAIN = re.compile(
    rb"POST /predict HTTP/1\.1\r\n"
    # No underscores in names, which WSGI would confuse with hyphens; no folded lines; in values no
    # control characters. No two ways to match anything, so no time to lose on hostile input.
    rb"((?:[A-Za-z0-9-]+:[\t\x20-\x7e\x80-\xff]*\r\n){1,50})\r\n"
)
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")
_LENGTH = re.compile(r"[0-9]{1,6}")
# Whatever frames a message other than by its length, or asks for more than an answer.
_INVOLVED = {"TRANSFER-ENCODING", "EXPECT", "UPGRADE", "TE", "TRAILER"}

# gevent changes greenlets only where a socket has nothing to give. One connection that always has
# more, a body without end or requests in a row, would keep all others waiting; so it pauses.
TURN_SECONDS = 0.005
_turn_began = 0.0


def take_turns() -> None:
    """Let the other connections have a turn, unless they have just had one."""
    global _turn_began
    if time.monotonic() - _turn_began > TURN_SECONDS:
        gevent.sleep(1e-6)  # sleep(0) may come back without a look at the sockets
        _turn_began = time.monotonic()


class _Unreader(SocketUnreader):  # type: ignore[misc]
    # gunicorn copies what it holds for each KiB of a body that it throws away.
    max_body_chunk = 64 * 1024

    def chunk(self, size_hint: int | None = None) -> bytes:
        take_turns()
        received: bytes = super().chunk(size_hint)
        return received


parser.SocketUnreader = _Unreader  # there is no setting for it


class Worker(GeventWorker):  # type: ignore[misc]
    """Used by naming it as gunicorn's `worker_class`."""

    alive: bool
    max_requests: int
    # Its number among those that run, from 0; given before the fork, in gunicorn.conf.py.
    slot: int
    connections = 0

    def init_process(self) -> None:
        # gunicorn's own check would end this worker without a successor.
        self._retire_after, self.max_requests = self.max_requests, sys.maxsize
        self._since = time.monotonic()
        self._constants = {
            "SERVER_PORT": str(self.cfg.address[0][1]),
            "wsgi.multiprocess": self.cfg.workers > 1,
        }
        super().init_process()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection: plain requests here, and from the first other one on in gunicorn."""
        self.connections += 1
        try:
            if self.cfg.is_ssl or not self._serve_plain(client, addr):
                super().handle(listener, client, addr)
        finally:
            self.connections -= 1

    def handle_request(self, *args: Any) -> None:
        take_turns()
        self._retire_if_due(self.nr + 1)
        super().handle_request(*args)

    def _retire_if_due(self, requests: int) -> None:
        """After `max_requests` end, beside a successor.

        The arbiter would fork it only when this process has ended, which waits for connections that
        their clients keep; child_exit in gunicorn.conf.py takes the number back. Not in the first
        seconds of a worker, lest they come faster than they can go.
        """
        if (
            requests >= self._retire_after
            and self.alive
            and time.monotonic() - self._since > self.cfg.keepalive
        ):
            self.log.info("Retiring after %d requests", requests)
            self.alive = False
            os.kill(self.ppid, signal.SIGTTIN)

    def _serve_plain(self, client: Any, addr: Any) -> bool:
        """Answer plain requests; return whether the connection has ended with them."""
        client.settimeout(self.cfg.keepalive)
        try:
            while seen := client.recv(MAX_HEAD + MAX_BODY, socket.MSG_PEEK):
                if (environ := _plain(seen, client)) is None:
                    return False
                environ["REMOTE_ADDR"] = addr[0]
                environ |= self._constants
                if not self._answer(environ, client):
                    break
        except OSError:
            pass  # idle for too long, or gone: there is nobody to tell
        client.close()
        return True

    def _answer(self, environ: dict[str, Any], client: Any) -> bool:
        """Run the application and send what it says; return whether the connection stays open."""
        environ["service.arrived"] = time.perf_counter()
        take_turns()
        self.nr += 1
        self._retire_if_due(self.nr)
        head: Any = None

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            nonlocal head
            head = status, headers

        chunks: Any = None
        try:
            chunks = self.wsgi(environ, start_response)
            body = b"".join(chunks)
            status, headers = head
        except Exception:
            self.log.exception("Error handling request")
            status, headers, body = "500 Internal Server Error", [("Content-Length", "0")], b""
            keep = False
        else:
            # Asked only now: the service may have begun to stop in the meantime.
            keep = self.alive
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        connection = "keep-alive" if keep else "close"
        try:
            content = (
                f"HTTP/1.1 {status}\r\nServer: gunicorn\r\nDate: {_date()}\r\n"
                f"Connection: {connection}\r\n{lines}\r\n".encode("latin-1")
                + body
            )
            # sendall alone has preparations that take longer than most answers to be sent.
            if (sent := client.send(content)) < len(content):
                client.sendall(memoryview(content)[sent:])
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return keep and environ["wsgi.input"].finish(self.cfg.keepalive)


class _Whole(io.BytesIO):
    """A body that has come in one piece with its head."""

    def finish(self, seconds: float) -> bool:
        return True


class _Coming:
    """A body that is still on its way."""

    def __init__(self, client: Any, length: int) -> None:
        self._client = client
        self._left = length
        client.settimeout(None)  # the application has a limit of its own

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or what there is until the body ends or the client does."""
        wanted, parts = min(size, self._left), []
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
        self._client.settimeout(seconds)
        return self._left == 0


def _plain(seen: bytes, client: Any) -> dict[str, Any] | None:
    """Take a plain request from the socket and return its WSGI environment; else None."""
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
    body: _Whole | _Coming
    if len(seen) >= start + length:
        client.recv(start + length)
        body = _Whole(seen[start : start + length])
    else:
        client.recv(start)
        body = _Coming(client, length)
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


_today = (0, "")


def _date() -> str:
    """Return the time as HTTP writes it; made once a second."""
    global _today
    now = int(time.time())
    if _today[0] != now:
        _today = now, formatdate(now, usegmt=True)
    return _today[1]
