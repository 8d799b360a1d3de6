"""gunicorn's gevent worker, in which plain requests go a shorter way (plain_http.py)."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import gevent
from gunicorn.http import parser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.ggevent import GeventWorker

from service import plain_http
from service.lifecycle import Retirement

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


parser.SocketUnreader = _Unreader  # gunicorn has no setting for it


class Worker(GeventWorker):  # type: ignore[misc]
    """Used by naming it as gunicorn's `worker_class`."""

    alive: bool
    max_requests: int
    # A number among those of the running workers, from 0; lifecycle.py gives it before the fork.
    index: int
    connections = 0

    def init_process(self) -> None:
        self._retirement = Retirement(self.max_requests, self.cfg.keepalive)
        self.max_requests = sys.maxsize  # gunicorn's own check would end it without a successor
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
        if self.alive and self._retirement.due(requests):
            self.log.info("Retiring after %d requests", requests)
            self.alive = False
            # gunicorn would fork a successor only when this process has ended, which waits for
            # connections that their clients keep. So it is asked for one worker more.
            os.kill(self.ppid, signal.SIGTTIN)

    def _serve_plain(self, client: Any, addr: Any) -> bool:
        """Answer plain requests; return whether the connection has ended with them."""
        client.settimeout(self.cfg.keepalive)
        try:
            while environ := plain_http.take(client):
                environ["REMOTE_ADDR"] = addr[0]
                environ |= self._constants
                if not self._answer(environ, client):
                    break
            else:
                return False
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
        started: Any = None

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            nonlocal started
            started = status, headers

        chunks: Any = None
        try:
            chunks = self.wsgi(environ, start_response)
            body = b"".join(chunks)
            status, headers = started
        except Exception:
            self.log.exception("Error handling request")
            status, headers, body = "500 Internal Server Error", [("Content-Length", "0")], b""
            keep = False
        else:
            # Asked only now: the service may have begun to stop in the meantime.
            keep = self.alive
        try:
            content = plain_http.head(status, headers, keep) + body
            # sendall alone has preparations that take longer than most answers to be sent.
            if (sent := client.send(content)) < len(content):
                client.sendall(memoryview(content)[sent:])
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return keep and environ["wsgi.input"].finish(self.cfg.keepalive)
