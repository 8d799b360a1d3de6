"""gunicorn's gevent worker, in which plain requests go a shorter way (plain_http.py)."""

from __future__ import annotations

import gc
import math
import mmap
import os
import signal
import sys
import time
from typing import Any

import gevent
from gunicorn import util
from gunicorn.workers.ggevent import GeventWorker
from werkzeug.http import HTTP_STATUS_CODES

from service import gunicorn_http, plain_http
from service.arbiter import ENDING, LEAVING, TELL_AFTER_SECONDS
from service.errors import error_content
from service.keepalive import Arrival, Idle
from service.lifecycle import LAST_CALL_SECONDS, Retirement
from service.settings import Settings
from service.turns import take_turns

MOST_IDS = 10  # of requests, in one line
# Python looks for garbage when there are so many objects more than before: 700, unless told
# otherwise. Requests on their way are none, but with thousands of them it looked through them all
# the time, a quarter of the CPU.
OBJECTS_OF_A_REQUEST = 50


class Worker(GeventWorker):  # type: ignore[misc]
    """Used by naming it as gunicorn's `worker_class`."""

    alive: bool
    max_requests: int
    sockets: list[Any]
    # A number among those of the running workers, from 0; lifecycle.py gives it before the fork.
    index: int
    connections = 0
    wsgi: Any = None  # until it is loaded
    patience: float = TELL_AFTER_SECONDS  # the arbiter's, until it serves

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made = time.monotonic()
        self.state = mmap.mmap(-1, 1)  # a byte that the arbiter sees, too: see arbiter.py

    def init_process(self) -> None:
        settings = Settings.from_env()
        self._head_seconds = settings.body_timeout_seconds
        self._send_seconds = settings.send_timeout_seconds
        self._last_call = min(self.cfg.keepalive, LAST_CALL_SECONDS)
        self._idle = Idle()
        self._leaves = math.inf  # when those that are still idle are closed
        address = self.cfg.address[0]
        self._constants = {
            # A Unix socket has no port, but WSGI demands one.
            "SERVER_PORT": "80" if isinstance(address, str) else str(address[1]),
            "wsgi.multiprocess": self.cfg.workers > 1,
        }
        # A process that predict forks would keep the port when the service is gone.
        os.register_at_fork(after_in_child=self._close_listeners)
        super().init_process()

    def _close_listeners(self) -> None:
        listeners, self.sockets = self.sockets, []  # once: a child of the child has other files
        for listener in listeners:
            os.close(listener.fileno())  # not its close, which disturbs the parent's event loop

    def load_wsgi(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # it has nobody to answer yet
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # blocked by the arbiter until now
        super().load_wsgi()

    def run(self) -> None:
        # A successor will need about as long to be here.
        self._overlap = 2 * (time.monotonic() - self.made)
        self._retirement = Retirement(self.max_requests, self._last_call + self._overlap)
        self._garbage, *_ = gc.get_threshold()  # model.py may have set it; 0: never
        self.max_requests = sys.maxsize  # gunicorn's own check would end it without a successor
        super().run()

    def notify(self) -> None:
        """Called every second, before and while the worker stops."""
        super().notify()
        if self._garbage:
            asked = self.connections - len(self._idle)
            gc.set_threshold(self._garbage + OBJECTS_OF_A_REQUEST * asked)
        self._replace_if_stuck()
        if not self.alive:
            self._leaves = min(self._leaves, time.monotonic() + self._last_call)
        self._idle.close(0 if time.monotonic() > self._leaves else self.cfg.keepalive)

    def timeout_ctx(self) -> Any:
        """Return the time that gunicorn gives a client to send a request's head."""
        return gevent.Timeout(self._head_seconds, False)  # type: ignore[arg-type]

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection: plain requests here, and from the first other one on in gunicorn."""
        self.connections += 1
        try:
            if self.cfg.is_ssl or not self._serve_plain(client, addr):
                super().handle(listener, client, addr)
        finally:
            self.connections -= 1
            self._idle.pop(client, None)

    def handle_request(self, listener_name: Any, req: Any, client: Any, addr: Any) -> None:
        if req.req_number > 1:
            take_turns()
        self._retire_if_due(self.nr + 1)
        client.settimeout(self._send_seconds)
        super().handle_request(listener_name, req, client, addr)
        # After a malformed body, gunicorn does not look for a request any more.
        if self.cfg.is_ssl or req.body.failed or req.unreader.buf.getvalue():
            return
        try:
            self._next_request(client)
        except OSError:
            raise StopIteration from None  # by which gunicorn knows that it is over

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what gunicorn could not read, or failed at, and report it as any other request."""
        telemetry, engine = (self.wsgi.extensions[name] for name in ("telemetry", "engine"))
        environ = {"REQUEST_METHOD": getattr(req, "method", None) or "OTHER"}
        record = telemetry.begin(environ, "other")
        status, message = gunicorn_http.status_of(exc), "internal error"
        if status == 500:
            record.error = exc
        else:
            record.reason = type(exc).__name__
            message = f"{HTTP_STATUS_CODES[status]}: {str(exc)[:200]}"
        content = error_content(environ, message)
        telemetry.end(record, environ, status)
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            ("X-Request-Id", record.request_id),
            ("X-Model-Version", engine.manifest.version),
        ]
        head = plain_http.head(f"{status} {HTTP_STATUS_CODES[status]}", headers, keep=False)
        try:
            util.write_nonblock(client, head + content)
        except OSError:
            pass  # gone, or never reads: there is nobody to tell

    def _replace_if_stuck(self) -> None:
        batcher = self.wsgi.extensions["engine"].batcher
        if self.alive and (records := batcher.give_up()) is not None:
            self.wsgi.extensions["engine"].ready = False
            self.alive = False
            self._make_room(0)
            gevent.sleep(0.1)  # those that are answered only now have no id before
            ids = [record.request_id for record in records[:MOST_IDS]]
            more = f" and {len(records) - MOST_IDS} more" if len(records) > MOST_IDS else ""
            self.log.error(
                "The model does not answer: replacing this worker. Requests in its call: %s%s",
                ", ".join(ids),
                more,
            )

    def _retire_if_due(self, requests: int) -> None:
        if self.alive and self._retirement.due(requests):
            self.log.info("Retiring after %d requests", requests)
            # It serves on while its successor starts.
            self._make_room(self._overlap)

    def _make_room(self, serving_seconds: float) -> None:
        """Have the arbiter make a successor now; leave in so many seconds.

        gunicorn would fork one only when this process has ended, which waits for connections that
        their clients keep.
        """
        self.state[0] = LEAVING  # the arbiter counts it no more,
        os.kill(self.ppid, signal.SIGCHLD)  # and looks now
        gevent.spawn_later(serving_seconds, setattr, self, "alive", False)

    def _next_request(self, client: Any, arrival: Arrival | None = None) -> bytes:
        """Wait for a request; return what has come of it. From then on sending has a timeout.

        `arrival`: by which it is cheaper to wait, but for the first, which may be there already.
        """
        self._idle.add(client)
        client.settimeout(None)  # `_idle` has one
        if arrival:
            arrival.wait()
        seen = plain_http.peek(client)
        del self._idle[client]
        client.settimeout(self._send_seconds)
        return seen

    def _serve_plain(self, client: Any, addr: Any) -> bool:
        """Answer plain requests; return whether the connection has ended with them."""
        arrival = Arrival(client)
        try:
            seen = self._next_request(client)
            while environ := plain_http.take(client, seen):
                environ["REMOTE_ADDR"] = addr[0] if addr else ""  # a Unix socket's client has none
                environ |= self._constants
                if not self._answer(environ, client):
                    break
                seen = self._next_request(client, arrival)
            else:
                return False
        except OSError:
            pass  # idle for too long, or gone: there is nobody to tell
        finally:
            arrival.close()
        client.close()
        return True

    def _answer(self, environ: dict[str, Any], client: Any) -> bool:
        """Run the application and send what it says; return whether the connection stays open."""
        environ["service.arrived"] = time.perf_counter()
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
        return keep and environ["wsgi.input"].finish(self._head_seconds)
