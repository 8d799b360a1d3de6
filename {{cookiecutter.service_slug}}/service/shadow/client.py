"""A small HTTP/1.1 client for one purpose: post a copy, read a bounded answer, trust nothing.

It never waits, but for a name to be looked up: `send` and `poll` do what can be done at once, so
that several copies go in a row when the worker has time for them. Libraries cost more, in the time
of live requests: a copy took 0.15 ms of CPU with the like of this, 0.29 with http.client, 0.58 with
urllib3. What it does not do (proxies, redirects, retries, cookies, chunks, compression) must not be
done to a copy. Answers are framed by Content-Length; what is not plain ends the connection.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import gevent
from gevent import monkey, socket
from gevent.threadpool import ThreadPool

from service.shadow.settings import Target

RESOLVE_SECONDS, CONNECT_SECONDS = 1.0, 0.25
# Less than servers leave an idle connection open, or a copy may meet one that is just closing.
IDLE_SECONDS = 2.0
MAX_HEAD, MAX_ANSWER_BYTES = 16 * 1024, 64 * 1024
_PLAIN = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2})[\t\x20-\x7e\x80-\xff]*"
    rb"((?:\r\n[!#-'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*){0,100})"
)
_LENGTH = re.compile(r"[0-9]{1,18}")

_getaddrinfo = monkey.get_original("socket", "getaddrinfo")
_Socket = monkey.get_original("socket", "socket")  # gevent's would wait
_READ, _WRITE = 1, 2  # what a watcher of the event loop waits for


class Failed(Exception):
    """There is no answer to compare; the message is the reason, a word."""


@dataclass(frozen=True, slots=True)
class Answer:
    seconds: float  # from the request's start until this was read, a while after it came
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Client:
    """One connection, kept while that is safe, with one request on it at a time.

    `send` and `poll` raise Failed: timeout, connect, protocol, encoded, too_large.
    """

    def __init__(
        self,
        target: Target,
        timeout: float,
        resolver: ThreadPool,
        most_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """`timeout`: seconds for all of a request. `resolver`: a thread that looks up names.

        `most_bytes`: of an answer.
        """
        self._target = target
        self._longest = self._timeout = timeout
        self._most_bytes = most_bytes
        self._resolver = resolver
        self._socket: Any = None
        self._watcher: Any = None
        self._connecting = False
        self._unsent = self._received = b""
        self._started = self._due = self._answered = 0.0
        self._id = self._answered_id = ""

    def send(self, request: bytes, request_id: str, timeout: float = inf) -> None:
        """Begin to send a whole request, which has this X-Request-Id.

        `timeout`: seconds for this one, if that is less than for all.
        """
        self._started = time.monotonic()
        self._timeout = min(timeout, self._longest)
        self._due = self._started + self._timeout
        self._unsent, self._received, self._id = request, b"", request_id
        try:
            if not self._reusable():
                self.close()
                self._connect()
            self._write()
        except BaseException as error:
            raise self._failure(error) from None

    def poll(self) -> Answer | None:
        """Send and receive what can be without waiting; return the answer when it is whole."""
        try:
            if self._unsent:
                self._write()
            answer = None if self._unsent else self._read()
            # The deadline comes second: an answer that is here came in time, and is read late.
            if answer is None and time.monotonic() >= self._due:
                raise Failed("connect" if self._connecting else "timeout")
            return answer
        except BaseException as error:
            raise self._failure(error) from None

    def watch(self, callback: Callable[[], None]) -> float:
        """Have `callback` called when it is time to poll; return when it is at the latest."""
        self._watcher.start(callback)
        return self._due

    def unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()

    def close(self) -> None:
        self._answered_id = ""
        if self._socket is not None:
            self._watcher.close()
            self._socket.close()
            self._socket = self._watcher = None

    def _reusable(self) -> bool:
        """Tell whether the connection is open, and has got nothing that nobody asked for."""
        if self._socket is None or self._started - self._answered > IDLE_SECONDS:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            return isinstance(error, BlockingIOError)
        return False

    def _connect(self) -> None:
        self._connecting = True
        place = self._target.host, self._target.port, 0, socket.SOCK_STREAM
        with gevent.Timeout(min(RESOLVE_SECONDS, self._timeout), TimeoutError):
            found = self._resolver.apply(_getaddrinfo, place)
        family, kind, protocol, _, address = found[0]
        self._due = min(self._due, time.monotonic() + CONNECT_SECONDS)
        self._socket = _Socket(family, kind, protocol)
        self._watcher = gevent.get_hub().loop.io(self._socket.fileno(), _WRITE)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BlockingIOError):
            self._socket.connect(address)

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOTCONN):
                raise
        else:
            self._connecting = False
            self._due = self._started + self._timeout
            self._unsent = self._unsent[sent:]
        self._watcher.events = _WRITE if self._unsent else _READ

    def _read(self) -> Answer | None:
        """Receive what there is; return the answer if that is all of it."""
        while True:
            try:
                part = self._socket.recv(64 * 1024)
            except BlockingIOError:
                return None
            if not part:
                raise Failed("protocol")
            self._received += part
            if answer := self._answer():
                return answer

    def _answer(self) -> Answer | None:
        received = self._received
        if (end := received.find(b"\r\n\r\n", 0, MAX_HEAD)) < 0:
            if len(received) >= MAX_HEAD or not received.startswith(b"HTTP/1.1"[: len(received)]):
                raise Failed("protocol")
            return None
        status, headers = _parse(received[:end])
        start, length = end + 4, int(headers["content-length"])
        if length > self._most_bytes:
            raise Failed("too_large")
        if (missing := start + length - len(received)) > 0:
            return None
        # A second answer to the request before, which came after this request had been sent.
        if self._answered_id and headers.get("x-request-id") == self._answered_id:
            raise Failed("protocol")
        self._answered, self._answered_id = time.monotonic(), self._id
        if missing < 0 or "close" in headers.get("connection", "").lower():
            self.close()
        body = received[start : start + length]
        return Answer(self._answered - self._started, status, headers, body)

    def _failure(self, error: BaseException) -> BaseException:
        self.close()  # or what was under way would be taken for the next answer
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
