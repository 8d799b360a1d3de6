"""How gunicorn runs the service: read by `gunicorn` without a flag, when started in this folder."""

import gc

# All that is loaded now is loaded for good: looking for garbage in between only takes time.
gc.disable()

from service import tracing, unified  # noqa: E402

# Datadog's variables first, then ddtrace, then gevent's patches, then all else: ddtrace reads the
# environment when it is loaded, and loaded after the patches it would undo some of them unnoticed.
unified.complete()
if tracing.wanted():
    tracing.load()

# So early that no lock, socket or logger is made unpatched before the fork.
from gevent import monkey  # noqa: E402

monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from types import FrameType  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from service.errors import Refusal, refuse  # noqa: E402
from service.settings import Settings, cpu_quota  # noqa: E402

try:
    settings = Settings.from_env()
except Refusal as refusal:
    refuse(refusal)

# In a container this is process 1, for which the kernel ignores signals without a handler. gunicorn
# sets its own when the model is loaded; a pod told to stop before that would wait to be killed.
signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))

wsgi_app = "service.app:main()"
bind = f"{settings.bind_host}:{settings.port}"
worker_class = "service.worker.Worker"
logger_class = "service.logs.Logger"
workers = settings.workers
keepalive = settings.keepalive_seconds
max_requests = settings.max_requests
max_requests_jitter = settings.max_requests // 10  # not all workers at once
# An open connection costs a descriptor, so allow as many as the system does; what a worker does not
# accept would queue unseen in the kernel, probes included. Who may wait is decided in the batcher.
_, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
worker_connections = settings.max_connections
if most_files != resource.RLIM_INFINITY:
    worker_connections = min(worker_connections, max(1, most_files - 100))
# Loaded once, before the fork, and shared: a further worker costs its own pages only.
preload_app = True
# gunicorn's remote control: a thread that does not survive the fork, and a socket nobody uses.
control_socket_disable = True
# The arbiter waits this long before it kills, so it has to count the time of draining too.
graceful_timeout = settings.drain_seconds + settings.graceful_timeout_seconds

# As many threads in BLAS and OpenMP as the quota leaves each worker; they would take all the
# host's cores. Has to be known before numpy is imported, which is why nothing above imports it.
for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"):
    os.environ.setdefault(f"{library}_NUM_THREADS", str(max(1, cpu_quota() // workers)))

# gunicorn takes a client that was dropped for not reading (see below) for an error of ours.
logging.getLogger("gunicorn.error").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], TimeoutError))
)


def when_ready(server: Any) -> None:
    # The kernel drops a client that reads nothing of what it was sent. Accepted connections inherit
    # this from the listening one.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        for listener in server.LISTENERS:
            listener.sock.setsockopt(
                socket.IPPROTO_TCP,
                socket.TCP_USER_TIMEOUT,
                int(settings.send_timeout_seconds * 1e3),
            )
    # What was loaded so far lives for ever: a collector that never visits it leaves it shared.
    gc.collect()
    gc.freeze()
    gc.enable()


def pre_fork(server: Any, worker: Any) -> None:
    # Metrics tell workers apart by it: few numbers, used again, not process ids without end.
    taken = {other.slot for other in server.WORKERS.values()}
    worker.slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)


def post_worker_init(worker: Any) -> None:
    """Warm up, report, then let SIGTERM turn readiness off first."""
    # A model written in Python shares the interpreter with the hub, which asks for it back at each
    # of its system calls. Beside a busy one, p99 of a probe was 17 ms at Python's 5, 9 ms so.
    sys.setswitchinterval(0.001)
    engine, telemetry = (worker.wsgi.extensions[name] for name in ("engine", "telemetry"))
    try:
        engine.start(telemetry)
    except Refusal as refusal:
        refuse(refusal)
    first = worker.age == 1
    telemetry.start(engine.batcher, lambda: worker.connections, worker.slot, announce=first)
    if shadow := worker.wsgi.extensions.get("shadow"):
        shadow.start(telemetry.metrics, worker.slot, engine.batcher.wait_until_idle)

    def drain(signum: int, frame: FrameType | None) -> None:
        engine.ready = False
        # Until the load balancers have noticed, new requests go on coming, and are answered.
        gevent.spawn_later(settings.drain_seconds, worker.handle_exit, signum, frame)

    signal.signal(signal.SIGTERM, drain)


def worker_exit(server: Any, worker: Any) -> None:
    if not worker.wsgi:
        return
    if shadow := worker.wsgi.extensions.get("shadow"):
        shadow.stop()  # whose last counts are metrics too
    if not worker.wsgi.extensions["telemetry"].stop():
        os._exit(0)


def child_exit(server: Any, worker: Any) -> None:
    # A retiring worker had its successor made beside it, see service/worker.py.
    if server.num_workers > settings.workers:
        server.num_workers -= 1
