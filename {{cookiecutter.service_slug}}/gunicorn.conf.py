"""How gunicorn runs the service: read by `gunicorn` without a flag, when started in this folder."""

import gc
import os

# A closed stdout's number would go to the next socket, and log lines to its client.
while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
    pass
os.close(descriptor)

# All that is loaded now is loaded for good: looking for garbage in between only takes time.
# service/lifecycle.py switches the collector on again.
gc.disable()

from service import tracing, unified  # noqa: E402

# Datadog's variables first, then ddtrace, then gevent's patches, then all else: ddtrace reads the
# environment when it is loaded, and loaded after the patches it would undo some of them unnoticed.
unified.complete()
if tracing.wanted():
    tracing.load()

from service import patching  # noqa: E402

patching.patch()

import logging  # noqa: E402
import math  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402

from service.artifact import read_manifest  # noqa: E402
from service.errors import exit_if_refused  # noqa: E402
from service.lifecycle import Lifecycle  # noqa: E402
from service.loading import Loading  # noqa: E402
from service.platforms import on_platform  # noqa: E402
from service.settings import Settings, cpu_quota  # noqa: E402

with exit_if_refused():
    settings = on_platform(Settings.from_env())
    manifest = read_manifest(settings.artifact_dir)

# In a container this is process 1, for which the kernel ignores signals without a handler. gunicorn
# sets its own when the model is loaded; a pod told to stop before that would wait to be killed.
signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))

wsgi_app = "service.app:main()"
bind = settings.bind
worker_class = "service.worker.Worker"
logger_class = "service.logs.Logger"
# Or a header of a client's could say where the routes begin, if a proxy on this host passes it on.
forwarder_headers = ""
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
# Where workers show that they are alive. Not a disk, which may be slow, full or read-only.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# A hub that is silent for so long is held up by a call that keeps the interpreter to itself.
timeout = max(30, math.ceil(settings.predict_timeout_seconds))
# Loaded once, before the fork, and shared: a further worker costs its own pages only. A fork brings
# no threads along, so a model that has some when it is loaded is loaded after it, by each worker.
preload_app = not manifest.per_worker
# gunicorn's remote control: a thread that does not survive the fork, and a socket nobody uses.
control_socket_disable = True
# The arbiter waits this long before it kills, so it has to count the time of draining too.
graceful_timeout = settings.drain_seconds + settings.graceful_timeout_seconds

# As many threads in BLAS and OpenMP as the quota leaves each worker; they would take all the
# host's cores. Has to be known before numpy is imported, which is why nothing above imports it.
for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"):
    os.environ.setdefault(f"{library}_NUM_THREADS", str(max(1, cpu_quota() // workers)))

if not preload_app:
    import service.app  # noqa: E402, F401  # to share at least what is not the model's

# gunicorn takes a client that was dropped for not reading (worker.py) for an error of ours.
logging.getLogger("gunicorn.error").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], TimeoutError))
)

lifecycle = Lifecycle(settings, Loading())
on_starting = lifecycle.on_starting
when_ready = lifecycle.when_ready
pre_fork = lifecycle.pre_fork
post_worker_init = lifecycle.post_worker_init
worker_exit = lifecycle.worker_exit
child_exit = lifecycle.child_exit
