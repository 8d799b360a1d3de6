"""A small HTTP/1.1 client for one purpose: post a copy, read a bounded answer, trust nothing.

It never waits, but for a name to be looked up: `ask` and `look` do what can be done at once, so
that several copies go in a row whenever the worker has time for them. Why not a library: where this
was measured, to send a copy cost 0.15 ms of CPU with the like of this, 0.29 with http.client and
0.58 with urllib3, and live requests of the same worker wait meanwhile. What it does not do
(proxies, redirects, retries, cookies, chunks, compression) must not be done to a copy. Answers are
framed by Content-Length; anything that is not plain ends the connection.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import monkey, socket
from gevent.threadpool import ThreadPool

from service.shadow.settings import Target

RESOLVE_SECONDS = 1.0
CONNECT_SECONDS = 0.25
# Less than servers leave an idle connection open, or a copy may meet one that is just closing.
IDLE_SECONDS = 2.0
MAX_HEAD = 16 * 1024
_PLAIN = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2})[\t\x20-\x7e\x80-\xff]*"
    rb"((?:\r\n[!#-'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*){0,100})"
)
_LENGTH = re.compile(r"[0-9]{1,18}")

_getaddrinfo = monkey.get_original("socket", "getaddrinfo")
_Socket = monkey.get_original("socket", "socket")  # gevent's would wait
_READ, _WRITE = 1, 2  # what a watcher of the loop waits for


class Failed(Exception):
    """There is no answer to compare; the message is the reason, a word."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`seconds`: from the start of the request until the answer was looked at."""

    seconds: float
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Client:
    """One connection, kept while that is safe, with one request on it at a time.

    `ask` and `look` raise Failed: timeout (`seconds` for everything), connect, protocol, encoded,
    too_large. That ends the request, as an answer does.
    """

    def __init__(
        self, target: Target, seconds: float, max_answer_bytes: int, resolver: ThreadPool
    ) -> None:
        """`resolver`: threads in which names are looked up."""
        self._target = target
        self._seconds = seconds
        self._max_answer_bytes = max_answer_bytes
        self._resolver = resolver
        self._socket: Any = None
        self._watcher: Any = None
        self._connecting = False
        self._unsent = b""
        self._received = b""
        self._started = self._due = self._used = 0.0

    def ask(self, request: bytes) -> None:
        """Begin to send a whole request."""
        self._started = time.monotonic()
        self._due = self._started + self._seconds
        self._unsent, self._received = request, b""
        try:
            if not self._reusable():
                self.close()
                self._connect()
            self._send()
        except BaseException as error:
            raise self._failure(error) from None

    def look(self) -> Answer | None:
        """Send and receive what can be without waiting; return the answer when it is whole."""
        try:
            if self._unsent:
                self._send()
            answer = None if self._unsent else self._receive()
            # Only now: what is here has come in time, it was just not looked at.
            if answer is None and time.monotonic() >= self._due:
                raise Failed("connect" if self._connecting else "timeout")
            return answer
        except BaseException as error:
            raise self._failure(error) from None

    def watch(self, callback: Callable[[], None]) -> float:
        """Have `callback` called when it is time to look; return when it is anyway."""
        self._watcher.start(callback)
        return self._due

    def unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _reusable(self) -> bool:
        if self._socket is None or self._started - self._used > IDLE_SECONDS:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False  # its end has come, or what nobody has asked for

    def _connect(self) -> None:
        self._connecting = True
        with gevent.Timeout(min(RESOLVE_SECONDS, self._seconds), TimeoutError):
            found = self._resolver.apply(
                _getaddrinfo, (self._target.host, self._target.port, 0, socket.SOCK_STREAM)
            )
        family, kind, protocol, _, address = found[0]
        self._due = min(self._due, time.monotonic() + CONNECT_SECONDS)
        self._socket = _Socket(family, kind, protocol)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watcher = gevent.get_hub().loop.io(self._socket.fileno(), _WRITE)
        with suppress(BlockingIOError):
            self._socket.connect(address)

    def _send(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOTCONN):
                raise
        else:
            self._connecting = False
            self._due = self._started + self._seconds
            self._unsent = self._unsent[sent:]
        self._watcher.events = _WRITE if self._unsent else _READ

    def _receive(self) -> Answer | None:
        answer = None
        while answer is None:
            try:
                part = self._socket.recv(64 * 1024)
            except BlockingIOError:
                break
            if not part:
                raise Failed("protocol")
            self._received += part
            answer = self._answer()
        return answer

    def _answer(self) -> Answer | None:
        """Return the answer if all of it was received."""
        received = self._received
        if (end := received.find(b"\r\n\r\n", 0, MAX_HEAD)) < 0:
            if len(received) >= MAX_HEAD or not received.startswith(b"HTTP/1.1"[: len(received)]):
                raise Failed("protocol")
            return None
        status, headers = _parse(received[:end])
        start, length = end + 4, int(headers["content-length"])
        if length > self._max_answer_bytes:
            raise Failed("too_large")
        if (missing := start + length - len(received)) > 0:
            return None
        if missing < 0 or "close" in headers.get("connection", "").lower():
            self.close()
        self._used = time.monotonic()
        body = received[start : start + length]
        return Answer(self._used - self._started, status, headers, body)

    def _failure(self, error: BaseException) -> BaseException:
        # Whatever was under way must not be taken for the next answer.
        self.close()
        if isinstance(error, (OSError, UnicodeError)):
            return Failed("connect" if self._connecting else "protocol")
        return error


def _parse(head: bytes) -> tuple[int, dict[str, str]]:
    """Return status and headers, of which content-length is a number."""
    plain = _PLAIN.fullmatch(head)
    if plain is None:
        raise Failed("protocol")
    headers: dict[str, str] = {}
    for line in plain[2].decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if (name := name.lower()) == "content-length" and name in headers:
            raise Failed("protocol")
        headers[name] = value.strip(" \t")
    if headers.get("content-encoding", "identity") != "identity":
        raise Failed("encoded")
    if "transfer-encoding" in headers or not _LENGTH.fullmatch(headers.get("content-length", "")):
        raise Failed("protocol")
    return int(plain[1]), headers
