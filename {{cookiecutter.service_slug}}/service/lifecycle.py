"""How a worker starts, makes room for a successor, drains and stops: gunicorn's hooks.

A worker's life: forked with a number, warmed up on the golden rows, ready; SIGTERM turns readiness
off, it serves on for DRAIN_SECONDS and answers what it has; it delivers its last metrics, and ends.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any

import gevent
from gunicorn.workers.workertmp import WorkerTmp

from service.arbiter import READY, Arbiter
from service.errors import Refusal, exit_if_refused
from service.loading import Loading
from service.server import listen
from service.settings import Settings

# A stopping worker leaves idle connections open for so long: who is about to use one is answered,
# and told to close it. A retired worker takes about as long to end.
LAST_CALL_SECONDS = 5
SEND_BUFFER = 64 * 1024  # bytes; Linux doubles it, for what it needs itself


class Retirement:
    """When a worker has served its share and makes room for a successor, which is ready before."""

    def __init__(self, after_requests: int, not_before_seconds: float) -> None:
        """`not_before_seconds`: its least age, lest workers come faster than they can go."""
        self._after_requests = after_requests
        self._earliest = time.monotonic() + not_before_seconds

    def due(self, requests: int) -> bool:
        """Return True, once, when it is time."""
        if requests < self._after_requests or time.monotonic() <= self._earliest:
            return False
        self._after_requests = sys.maxsize
        return True


class Lifecycle:
    """What gunicorn calls, by the names that it calls it."""

    def __init__(self, settings: Settings, loading: Loading | None = None) -> None:
        self._settings = settings
        self._loading = loading

    def on_starting(self, server: Any) -> None:
        """In the arbiter, when the application is loaded: what may go wrong in an environment."""
        if self._loading:
            self._loading.done()
        with exit_if_refused():
            try:
                WorkerTmp(server.cfg).close()
            except (OSError, RuntimeError) as error:
                raise Refusal(f"no place for the workers' heartbeats: {error}") from None
            listen(server)

    def when_ready(self, server: Any) -> None:
        """In the arbiter, before the first fork, when what is shared is loaded."""
        server.__class__ = Arbiter
        # What a client has not read, before the next answer has to wait: 4 MiB by default. Accepted
        # connections inherit it.
        for listener in server.LISTENERS:
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        # What was loaded so far lives for ever. A garbage collector that never visits it leaves its
        # memory pages shared between the workers.
        gc.collect()
        gc.freeze()
        gc.enable()

    def pre_fork(self, server: Any, worker: Any) -> None:
        """In the arbiter: number the worker. Metrics are tagged by few numbers, used again."""
        taken = {other.index for other in server.WORKERS.values()}
        worker.index = next(index for index in range(len(taken) + 1) if index not in taken)

    def post_worker_init(self, worker: Any) -> None:
        """In the worker: warm up, report, then let SIGTERM turn readiness off first."""
        # A model written in Python shares the interpreter with the hub, which asks for it back at
        # each of its system calls. Beside a busy model, p99 of a probe was 17 ms at Python's 5 ms,
        # and is 9 ms at 1 ms.
        sys.setswitchinterval(0.001)
        extensions = worker.wsgi.extensions
        engine, telemetry = extensions["engine"], extensions["telemetry"]
        with exit_if_refused():
            engine.start(telemetry)
        telemetry.start(
            engine.batcher, lambda: worker.connections, worker.index, announce=worker.age == 1
        )
        if shadow := extensions.get("shadow"):
            shadow.start(telemetry.metrics, worker.index, engine.batcher.idle.wait_for_hub)
        if share := extensions.get("ab"):
            share.start(telemetry.metrics, worker.index)
        # A model that was loaded here lives as long, and a look through it takes the longer, the
        # larger it is.
        gc.collect()
        gc.freeze()

        def drain(signum: int, frame: FrameType | None) -> None:
            engine.ready = False
            # Until the load balancers have noticed, new requests go on coming, and are answered.
            gevent.spawn_later(self._settings.drain_seconds, worker.handle_exit, signum, frame)

        signal.signal(signal.SIGTERM, drain)
        worker.state[0] = READY

    def worker_exit(self, server: Any, worker: Any) -> None:
        """In the worker, when all it had accepted is answered."""
        if not worker.wsgi:
            return
        extensions = worker.wsgi.extensions
        if shadow := extensions.get("shadow"):
            shadow.stop()  # before telemetry: its last counts are metrics too
        if share := extensions.get("ab"):
            share.stop()
        extensions["telemetry"].stop()
        # An ordinary end would wait for threads: ddtrace's for an agent, a model's for each other.
        os._exit(getattr(sys.exc_info()[1], "code", 1) or 0)  # gunicorn's sys.exit is under way

    def child_exit(self, server: Any, worker: Any) -> None:
        """In the arbiter, when a worker has ended."""
        server.ended(worker)
