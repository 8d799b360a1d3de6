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

from service.errors import exit_if_refused
from service.settings import Settings


class Retirement:
    """When a worker has served its share and makes room for a successor, which is ready before."""

    def __init__(self, after_requests: int, not_before_seconds: float) -> None:
        """`not_before_seconds`: its least age, lest workers come faster than they can go."""
        self._after_requests = after_requests
        self._earliest = time.monotonic() + not_before_seconds

    def due(self, requests: int) -> bool:
        return requests >= self._after_requests and time.monotonic() > self._earliest


class Lifecycle:
    """What gunicorn calls, by the names that it calls it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def when_ready(self, server: Any) -> None:
        """In the arbiter, when the application is loaded and before the first fork."""
        # The kernel drops a client that reads nothing of what it was sent. Accepted connections
        # inherit this from the listening one.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = int(self._settings.send_timeout_seconds * 1e3)
            for listener in server.LISTENERS:
                listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
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
            shadow.start(telemetry.metrics, worker.index, engine.batcher.wait_until_idle)

        def drain(signum: int, frame: FrameType | None) -> None:
            engine.ready = False
            # Until the load balancers have noticed, new requests go on coming, and are answered.
            gevent.spawn_later(self._settings.drain_seconds, worker.handle_exit, signum, frame)

        signal.signal(signal.SIGTERM, drain)

    def worker_exit(self, server: Any, worker: Any) -> None:
        """In the worker, when all it had accepted is answered."""
        if not worker.wsgi:
            return
        extensions = worker.wsgi.extensions
        if shadow := extensions.get("shadow"):
            shadow.stop()  # before telemetry: its last counts are metrics too
        if not extensions["telemetry"].stop():
            os._exit(0)  # an ordinary end would wait for threads that wait for an agent

    def child_exit(self, server: Any, worker: Any) -> None:
        """In the arbiter, when a worker has ended."""
        # A retired worker's successor was one more than there should be.
        if server.num_workers > self._settings.workers:
            server.num_workers -= 1
